"""Text and JSON files inside a model directory, read within bounds."""

import json
from pathlib import Path
from typing import Any

from zeroflow.models.errors import CorruptModel

MAX_TEXT_BYTES = 4 << 20


def json_of(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file; raise CorruptModel when there is none."""
    try:
        found = json.loads(text_of(path))
    except (ValueError, RecursionError) as error:
        raise CorruptModel(f"{path.name} is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise CorruptModel(f"{path.name} is no JSON object")
    return found


def inside(root: Path, name: str, said_by: str) -> Path:
    """Return the path of what a file of a model's directory names in it; raise CorruptModel when it is not there."""
    try:
        path = (root / name).resolve()
        found = path.is_relative_to(root.resolve()) and path.exists()
    except (OSError, ValueError):  # what no file can be called
        found = False
    if not found:
        shown = name[:200].encode(errors="replace").decode()
        raise CorruptModel(f"{said_by} names {shown!r}, which is not in the directory")
    return path


def text_of(path: Path) -> str:
    """Return the text in a file; raise CorruptModel when it is none, or too much."""
    if path.stat().st_size > MAX_TEXT_BYTES:
        raise CorruptModel(f"{path.name} is larger than {MAX_TEXT_BYTES} bytes, which no such file is")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise CorruptModel(f"{path.name} is not UTF-8 text: {error}") from error
