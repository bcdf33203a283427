"""Triton's model repositories: what config.pbtxt says, which version is served, what is refused by name."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from zeroflow.artifacts import Stores
from zeroflow.errors import ZeroflowError
from zeroflow.models.estimator import Tensor
from zeroflow.models.loading import load_versioned
from zeroflow.models.triton import config_of, parse
from zeroflow.models.trust import Word

CIFAR = """
name: "cifar10"  # a comment with { and "
platform: 'pytorch_libtorch'
max_batch_size: 8
input [
  { name: "INPUT__0"; data_type: TYPE_FP32, dims: [ 3, 4 ] }
]
output { name: "OUTPUT__" "0" data_type: TYPE_FP32 dims: 10 }
version_policy: { specific: { versions: [1, 2] } }
instance_group [ { count: 4 kind: KIND_CPU } ]
"""


def test_a_configuration_is_read_as_protobuf_writes_it(tmp_path: Path) -> None:
    (tmp_path / "config.pbtxt").write_text(CIFAR)
    found = config_of(tmp_path)
    assert found.inputs == (Tensor("INPUT__0", "FP32", (-1, 3, 4)),)
    assert found.outputs == (Tensor("OUTPUT__0", "FP32", (-1, 10)),)
    assert found.versions == ("1", "2")
    (tmp_path / "config.pbtxt").write_text(CIFAR.replace("max_batch_size: 8", ""))
    assert config_of(tmp_path).inputs[0].shape == (3, 4)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("input [", "ends before its ']'"),
        ("input {", "ends before its '}'"),
        ("a: }", "where a value is expected"),
        ("}", "that nothing opens"),
        ("a: " + "[" * 10_000, "nests deeper"),
        ("a {" * 10_000, "nests deeper"),
        ("name:", "ends where a value is expected"),
    ],
    ids=["list", "message", "value", "closed", "deep-lists", "deep-messages", "no-value"],
)
def test_a_broken_configuration_is_an_error_and_nothing_else(text: str, words: str) -> None:
    with pytest.raises(ZeroflowError, match=words):
        parse(text)


def graph(scale: float) -> bytes:
    onnx: Any = pytest.importorskip("onnx")
    make = onnx.helper
    kind = onnx.TensorProto.FLOAT
    node = make.make_node("Mul", ["x", "by"], ["y"])
    tensors = [make.make_tensor_value_info(name, kind, [None, 2]) for name in ("x", "y")]
    by = make.make_tensor("by", kind, [], [scale])
    made = make.make_model(
        make.make_graph([node], "g", tensors[:1], tensors[1:], [by]), opset_imports=[make.make_opsetid("", 15)]
    )
    made.ir_version = 8
    return bytes(made.SerializeToString())


def stored(store: Path, files: dict[str, bytes | str]) -> None:
    for name, content in files.items():
        path = store / "models" / "it" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)


def loaded(store: Path) -> tuple[Any, str | None]:
    return load_versioned(Stores(store), "store://models/it", Word(None, "test"), "triton")


NAMED = """
max_batch_size: 1
input { name: "x" data_type: TYPE_FP32 dims: 2 }
output { name: "y" data_type: TYPE_FP32 dims: 2 }
"""


def test_the_highest_version_that_may_be_served_is(tmp_path: Path) -> None:
    files: dict[str, bytes | str] = {f"{each}/model.onnx": graph(each) for each in (2, 9, 10)}
    stored(tmp_path, {**files, "config.pbtxt": NAMED, "labels.txt": "a"})
    model, version = loaded(tmp_path)
    assert version == "10"
    assert model.inputs == (Tensor("x", "FP32", (-1, 2)),)
    given = {"x": np.array([[1, 2]], dtype=np.float32)}
    assert model.run(given, ("y",))["y"].tolist() == [[10, 20]]
    stored(tmp_path, {"config.pbtxt": NAMED + "version_policy { specific { versions: 2 versions: 9 } }"})
    assert loaded(tmp_path)[1] == "9"
    (tmp_path / "models" / "it" / "config.pbtxt").unlink()  # Triton needs none for a graph that says it all
    assert loaded(tmp_path)[0].inputs[0].name == "x"


def test_torchscript_gets_its_names_from_the_configuration(tmp_path: Path) -> None:
    torch: Any = pytest.importorskip("torch")

    class Net(torch.nn.Module):  # type: ignore[misc]
        def forward(self, image: Any, other: Any) -> Any:
            return image + other, image - other

    given = (torch.ones(1, 2), torch.ones(1, 2))
    file = io.BytesIO()
    with pytest.warns(DeprecationWarning, match="jit"):  # still what Triton serves
        torch.jit.save(torch.jit.trace(Net(), given), file)
    config = "max_batch_size: 4\n" + "".join(
        f'{what} {{ name: "{name}" data_type: TYPE_FP32 dims: [2] }}\n'
        for what, names in (("input", ("b__1", "a__0")), ("output", ("SUM__0", "LESS__1")))
        for name in names
    )
    stored(tmp_path, {"1/model.pt": file.getvalue(), "config.pbtxt": config})
    model, _ = loaded(tmp_path)
    assert [each.name for each in model.inputs] == ["b__1", "a__0"]
    rows = {"a__0": np.array([[5, 5]], dtype=np.float32), "b__1": np.array([[1, 2]], dtype=np.float32)}
    found = model.run(rows, ("SUM__0", "LESS__1"))
    assert found["SUM__0"].tolist() == [[6, 7]]
    assert found["LESS__1"].tolist() == [[4, 3]]


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"config.pbtxt": 'platform: "ensemble"', "1/x": ""}, "is an ensemble; make an InferenceGraph"),
        ({"config.pbtxt": "", "1/model.py": "class TritonPythonModel: pass"}, "is for Triton's Python backend"),
        ({"config.pbtxt": "", "1/model.graphdef": "x"}, "is a graphdef model; .* convert it with tf2onnx"),
        ({"config.pbtxt": "", "1/model.savedmodel/saved_model.pb": "x"}, "saved_model.pb|SavedModel"),
        ({"config.pbtxt": "", "1/model.plan": "x"}, "serve the ONNX graph that it was built from"),
        ({"config.pbtxt": "", "model.onnx": "x"}, "has no directory of a version"),
        ({"config.pbtxt": NAMED.replace('"y"', '"z"'), "1/model.onnx": "GRAPH"}, ""),
        ({"config.pbtxt": NAMED.replace("dims: 2", "dims: 2 reshape { shape: 1 }"), "1/a": ""}, "has a reshape of 'x'"),
        ({"config.pbtxt": NAMED.replace("TYPE_FP32", "TYPE_BF16"), "1/a": ""}, "of data_type 'TYPE_BF16'"),
    ],
    ids=["ensemble", "python", "graphdef", "savedmodel", "plan", "no-version", "by-place", "reshape", "type"],
)
def test_what_is_not_served_is_said_by_name(tmp_path: Path, files: dict[str, Any], words: str) -> None:
    stored(tmp_path, {name: graph(2) if content == "GRAPH" else content for name, content in files.items()})
    if not words:  # one output each: by its place
        assert loaded(tmp_path)[0].outputs[0].name == "z"
        return
    with pytest.raises(ZeroflowError, match=words):
        loaded(tmp_path)
