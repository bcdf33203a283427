"""The lines of a file that a trial writes, as they come."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

LINE_LIMIT = 64 * 1024


@dataclass
class Tail:
    """Reads a file from its beginning, line by line, however often it is asked; a file may come late or never."""

    path: Path
    _position: int = 0
    _rest: bytes = b""

    def new(self, *, last: bool = False) -> Iterator[str]:
        """Yield the lines that were finished since the last call; with `last` also one without an end."""
        try:
            with self.path.open("rb") as file:
                if file.seek(0, 2) < self._position:  # it was written anew
                    self._position, self._rest = 0, b""
                file.seek(self._position)
                while chunk := file.read(LINE_LIMIT):
                    self._position += len(chunk)
                    *lines, rest = (self._rest + chunk).split(b"\n")
                    self._rest = rest[:LINE_LIMIT]
                    yield from (line.decode("utf-8", "replace") for line in lines)
        except (FileNotFoundError, IsADirectoryError, PermissionError):
            return
        if last and self._rest:
            yield self._rest.decode("utf-8", "replace")
            self._rest = b""
