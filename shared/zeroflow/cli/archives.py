"""Archives of the audit trail: files of JSON lines as `zeroflow audit export` prints them, whose chain can be checked.

A line is the record's own text with its hash in front, so that the text which was hashed can be had back.
"""

import hashlib
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

from zeroflow.errors import Conflict, InvalidInput

_LINE = re.compile(r'\{"hash":"([0-9a-f]{64})",(.*)\Z', re.DOTALL)


@dataclass(frozen=True)
class Archive:
    """What a check found. `end`: SEQ:HASH of the last record, None in an empty one."""

    count: int
    end: str | None


def check(path: Path) -> Archive:
    """Check that an archive's chain is unbroken from the first record on; raise Conflict naming a line that is not."""
    try:
        lines = path.read_text().splitlines() if path.exists() else []
    except OSError as error:
        raise InvalidInput(f"the archive {path} cannot be read: {error.strerror}") from error
    return Archive(len(lines), _chained(path, lines, 0, ""))


def add(path: Path, lines: list[str], base: str | None) -> Archive:
    """Add records behind those that the archive has, durably; raise Conflict when they do not follow on them.

    `base`: the last record that left the trail before. Records that are there already are not added twice.
    """
    had = path.read_text().splitlines() if path.exists() else []
    end = _chained(path, had, 0, "")
    known = {mark_of(line) for line in had}
    new = [line for line in lines if mark_of(line) not in known]
    if end not in (base, mark_of(lines[len(lines) - len(new) - 1]) if len(new) < len(lines) else base):
        raise Conflict(f"the archive {path} ends with {end or 'nothing'}; the trail begins after {base or 'nothing'}")
    seq, _, previous = (end or "0:").partition(":")
    last = _chained(path, new, int(seq), previous) or end
    with path.open("a") as file:
        file.write("".join(f"{line}\n" for line in new))
        file.flush()
        os.fsync(file.fileno())
    return Archive(len(had) + len(new), last)


def mark_of(line: str) -> str:
    """Return SEQ:HASH of a line."""
    told = json.loads(line)
    return f"{told['seq']}:{told['hash']}"


def _chained(path: Path, lines: list[str], seq: int, previous: str) -> str | None:
    end = None
    for number, line in enumerate(lines, 1):
        match = _LINE.match(line)
        record = "{" + match[2] if match else ""
        seq += 1
        if match is None or hashlib.sha256(f"{previous}\n{record}".encode()).hexdigest() != match[1]:
            raise Conflict(f"{path}: line {number} is not what was written: record {seq} is broken")
        if json.loads(record)["seq"] != seq:
            raise Conflict(f"{path}: line {number} should be record {seq}")
        previous, end = match[1], f"{seq}:{match[1]}"
    return end
