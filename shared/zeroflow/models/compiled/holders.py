"""A scikit-learn pickle, or a TorchScript archive, as plain holders of what its objects have learned, read without
their libraries.

Guarantees: nothing of the file is run - its classes become holders of attributes, only numpy's own arrays and numbers
are made - and whatever is not of the plainest form is Unreadable, so that it is loaded as usual.

Sources: Python's pickle (protocols 2 to 5); joblib 1.x, numpy_pickle.NumpyArrayWrapper (an array's bytes follow its
description in the stream, aligned by a padding of which the first byte tells the length); sklearn.tree._tree.Tree;
TorchScript's archive (torch/csrc/jit/docs/serialization.md): data.pkl, and a file of bytes for each storage.
"""

import io
import pickle
import sys
import zipfile
import zlib
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

GZIP_OR_ZLIB = 47
"""zlib's window bits: either header is taken."""
_PLAIN = {
    ("_codecs", "encode"),  # how protocol 2 writes bytes
    *(("numpy", name) for name in ("dtype", "ndarray")),
    *(("builtins", name) for name in ("set", "frozenset", "slice")),
    ("collections", "OrderedDict"),
}
_CORE = {("multiarray", "_reconstruct"), ("multiarray", "scalar"), ("numeric", "_frombuffer")}
"""In numpy.core before numpy 2, in numpy._core since."""


class Unreadable(Exception):
    """The file holds something that has no plain form."""


class Holder:
    """An object's attributes, under the name of its class."""

    def __init__(self, *arguments: object) -> None:
        self.arguments = arguments

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, dict):
            raise Unreadable(f"the state of a {type(self).__name__} is a {type(state).__name__}")
        self.__dict__.update(state)


class Tree(Holder):
    """The nodes of a decision tree, by the names that scikit-learn's own object gives them."""

    nodes: Any
    values: Any
    feature = property(lambda self: self.nodes["feature"])
    threshold = property(lambda self: self.nodes["threshold"])
    children_left = property(lambda self: self.nodes["left_child"])
    children_right = property(lambda self: self.nodes["right_child"])
    missing_go_to_left = property(lambda self: self.nodes["missing_go_to_left"])
    value = property(lambda self: self.values)


class _Array(Holder):
    """What joblib writes before an array's bytes."""

    shape: tuple[int, ...]
    order: str
    dtype: "np.dtype[Any]"

    def read(self, file: Any) -> "np.ndarray[Any, Any]":
        if self.dtype.hasobject:
            raise Unreadable("an array of objects")
        if self.__dict__.get("numpy_array_alignment_bytes") is not None:
            file.read(file.read(1)[0])
        size = int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize
        flat = np.frombuffer(bytearray(file.read(size)), dtype=self.dtype)
        return flat.reshape(self.shape[::-1]).T if self.order == "F" else flat.reshape(self.shape)


_Python: Any = vars(pickle)["_Unpickler"]  # the one in C cannot put an array in a description's place


class _Reader(_Python):  # type: ignore[misc]  # it has no types
    def __init__(self, file: Any) -> None:
        super().__init__(file)
        self._file = file

    def find_class(self, module: str, name: str) -> Any:
        package, _, rest = module.partition(".")
        if (module, name) in _PLAIN or (package == "numpy" and (rest.rpartition(".")[2], name) in _CORE):
            return super().find_class(module, name)
        if (module, name) == ("joblib.numpy_pickle", "NumpyArrayWrapper"):
            return _Array
        if (module, name) == ("sklearn.tree._tree", "Tree"):
            return Tree
        if package == "sklearn" and not name.startswith("_"):
            return type(name, (Holder,), {"__module__": module})
        raise Unreadable(f"{module}.{name}")

    def load_build(self) -> None:
        super().load_build()
        if isinstance(self.stack[-1], _Array):
            self.stack[-1] = self.stack[-1].read(self._file)

    dispatch: ClassVar = {**_Python.dispatch, pickle.BUILD[0]: load_build}


def read(path: Path) -> Any:
    """Return the object in a pickle or joblib file; raise Unreadable, or what a damaged file makes Python raise."""
    data = path.read_bytes()
    if data[:1] in (b"\x78", b"\x1f"):
        data = zlib.decompress(data, GZIP_OR_ZLIB)
    return _Reader(io.BytesIO(data)).load()


class _Script(_Reader):
    def __init__(self, archive: zipfile.ZipFile, root: str) -> None:
        super().__init__(io.BytesIO(archive.read(f"{root}/data.pkl")))
        self._archive, self._root = archive, root

    def find_class(self, module: str, name: str) -> Any:
        if module == "__torch__" or module.startswith("__torch__."):
            return type(name, (Holder,), {"__module__": module})
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _tensor
        if (module, name) == ("torch", "FloatStorage"):
            return np.float32
        return super().find_class(module, name)

    def persistent_load(self, pid: Any) -> Any:
        _, kind, key, _, count = pid
        return np.frombuffer(bytearray(self._archive.read(f"{self._root}/data/{key}")), dtype=kind)[:count]


def _tensor(storage: Any, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: object) -> Any:
    size = storage.itemsize
    return np.ndarray(shape, storage.dtype, storage, offset * size, [each * size for each in strides])


def read_script(path: Path) -> Any:
    """Return a TorchScript module's holder; raise Unreadable, or what a damaged file makes Python raise."""
    with zipfile.ZipFile(path) as archive:
        (data,) = [name for name in archive.namelist() if name.count("/") == 1 and name.endswith("/data.pkl")]
        root = data.removesuffix("/data.pkl")
        if archive.read(f"{root}/byteorder") != sys.byteorder.encode():
            raise Unreadable("bytes in another order")
        return _Script(archive, root).load()
