"""Heads of the audit trail, kept outside the database that holds it: what shows that trail and head were cut together.

Each verification that holds adds its head to `audit-heads` in the home, one `SEQ:HASH` a line; the next one has to find
them all again. Without a home nothing is kept here: keep what `zeroflow audit verify` prints.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path

from zeroflow.metadata.audit import Mark

FILE = "audit-heads"
_LINE = re.compile(r"([0-9]{1,18}):([0-9a-f]{64})\Z")


class Anchors:
    """The heads in one file; a line that was cut short by a crash counts for nothing."""

    def __init__(self, path: Path | None) -> None:
        self._path = path

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> "Anchors":
        """Find the file in the home, if there is a home."""
        home = (os.environ if environment is None else environment).get("ZEROFLOW_HOME")
        return cls(Path(home) / FILE if home else None)

    def kept(self) -> list[Mark]:
        """Return all heads that were kept."""
        if self._path is None or not self._path.exists():
            return []
        lines = (_LINE.match(line) for line in self._path.read_text(errors="replace").splitlines())
        return [(int(match[1]), match[2]) for match in lines if match]

    def keep(self, head: Mark) -> None:
        """Add a head, unless it is there."""
        if self._path is None or head in self.kept():
            return
        with self._path.open("a") as file:
            file.write(f"{head[0]}:{head[1]}\n")
            file.flush()
            os.fsync(file.fileno())
