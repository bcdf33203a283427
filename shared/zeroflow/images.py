"""What stands for a container image on a machine that runs processes: a directory, and perhaps a command.

The directory is a virtual environment (it has `bin/python`), whose programs go first on the PATH, or any other folder:
what the image's working directory would hold. The mapping is a file of the machine, `<home>/images.json`, since it
names the machine's directories; `zeroflow images` writes it, whoever starts a process reads it. A cluster has none:
there a program of ours may itself be in a component's image (ZEROFLOW_INSIDE_IMAGE), for which nothing stands.
"""

import json
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from zeroflow.errors import InvalidInput, NotFound

FILE = "images.json"
OWN_IMAGES = "ZEROFLOW_OWN_IMAGES"
"""`true`: components run in their own images, in Jobs."""
DEFAULT = re.compile(r"(docker\.io/)?(library/)?python:3(\.\d+)*(-slim(-\w+)?)?")
"""What the KFP SDK says for a component that names no image: the platform's Python serves as well."""
INSIDE = "ZEROFLOW_INSIDE_IMAGE"
"""Names the image in which this program runs, which is not its own."""


@dataclass(frozen=True)
class Mapped:
    """What stands for an image."""

    directory: Path
    command: tuple[str, ...] = ()
    """What the image starts when a container names no command."""

    @property
    def python(self) -> Path | None:
        """The interpreter of the directory, if it has one."""
        found = self.directory / "bin" / "python"
        return found if found.exists() else None

    def environment(self, base: Mapping[str, str]) -> dict[str, str]:
        """Return the variables that change: where programs and modules are looked for."""
        path = [str(self.directory / "bin"), *([] if self.python else [str(self.directory)])]
        changed = {"PATH": os.pathsep.join([*path, base.get("PATH", os.defpath)])}
        if self.python:
            return {**changed, "VIRTUAL_ENV": str(self.directory)}
        given = base.get("PYTHONPATH")
        return {**changed, "PYTHONPATH": os.pathsep.join([str(self.directory), *([given] if given else [])])}

    def word(self, text: str) -> str:
        """Return a word of a command line as it is on this machine.

        An absolute path that is not here is looked for in the directory, whole or by its end: of
        `/opt/mnist/train.py` the first of `opt/mnist/train.py`, `mnist/train.py` and `train.py` that is there.
        """
        if not text.startswith("/") or os.path.exists(text):
            return text
        parts = PurePosixPath(text).parts[1:]
        if ".." in parts:
            return text
        for at in range(len(parts)):
            if (found := self.directory.joinpath(*parts[at:])).exists():
                return str(found)
        return text

    @property
    def working_directory(self) -> Path | None:
        """Where a command of the image begins; a virtual environment is no place to work in."""
        return None if self.python else self.directory


@dataclass(frozen=True)
class Inside(Mapped):
    """The image itself, seen from inside of it: its programs, its Python, the directory in which it begins."""

    @property
    def python(self) -> Path | None:
        """The interpreter that the image has on its PATH."""
        found = shutil.which("python3") or shutil.which("python")
        return Path(found) if found else None

    def environment(self, base: Mapping[str, str]) -> dict[str, str]:
        """Return no variables: the image's own are there."""
        return {}

    def word(self, text: str) -> str:
        """Return the word: what it names is where it says."""
        return text

    @property
    def working_directory(self) -> Path | None:
        """Where the image begins."""
        return self.directory


class Images:
    """The mapping of one machine. Safe to use from several threads; a change counts from the next look-up."""

    def __init__(self, home: Path | None, inside: str = "") -> None:
        """Take the platform's home on this machine; without one no image is mapped. `inside`: where this runs."""
        self._file = home / FILE if home else None
        self._read: tuple[int, dict[str, Mapped]] = (0, {})
        self._inside = inside

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Images":
        """Open the mapping below ZEROFLOW_HOME."""
        home = environment.get("ZEROFLOW_HOME")
        return cls(Path(home) if home else None, environment.get(INSIDE, ""))

    def of(self, image: str) -> Mapped | None:
        """Return what stands for an image: what is mapped for exactly this name, or for it without tag and digest."""
        if self._inside and image == self._inside:
            return Inside(Path.cwd())
        known = self.all()
        return known.get(image) or known.get(without_tag(image))

    def all(self) -> dict[str, Mapped]:
        """Return the whole mapping; raise InvalidInput when somebody has damaged the file."""
        if self._file is None:
            return {}
        try:
            changed = self._file.stat().st_mtime_ns
        except FileNotFoundError:
            return {}
        if changed != self._read[0]:
            self._read = changed, _parsed(self._file)
        return self._read[1]

    def map(self, image: str, mapped: Mapped) -> None:
        """Let a directory stand for an image from now on; raise InvalidInput when it is none."""
        if not image.strip() or any(letter.isspace() for letter in image):
            raise InvalidInput(f"{image!r} is no name of an image; expected one such as ghcr.io/me/tool:1.2")
        if not mapped.directory.is_dir():
            raise InvalidInput(f"{mapped.directory} is not a directory; give a virtual environment or a folder")
        self._write({**self.all(), image: Mapped(mapped.directory.resolve(), mapped.command)})

    def unmap(self, image: str) -> None:
        """Forget an image; raise NotFound."""
        known = dict(self.all())
        if known.pop(image, None) is None:
            raise NotFound(f"image {image!r} is not mapped; see: zeroflow images list")
        self._write(known)

    def _write(self, known: Mapping[str, Mapped]) -> None:
        if self._file is None:
            raise InvalidInput("there is no home of the platform on this machine")
        document = {
            image: {"directory": str(found.directory), "command": list(found.command)} for image, found in known.items()
        }
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=self._file.parent, delete=False) as new:
            json.dump(document, new, indent=2)
        os.replace(new.name, self._file)


def without_tag(image: str) -> str:
    """Return the name of an image without its tag and digest."""
    name = image.partition("@")[0]
    head, colon, tag = name.rpartition(":")
    return head if colon and "/" not in tag else name


def _parsed(file: Path) -> dict[str, Mapped]:
    try:
        document: Any = json.loads(file.read_bytes())
        return {
            image: Mapped(Path(found["directory"]), tuple(map(str, found.get("command") or ())))
            for image, found in document.items()
        }
    except (ValueError, AttributeError, KeyError, TypeError) as error:
        raise InvalidInput(f"{file} is damaged ({error}); remove it and map the images again") from error
