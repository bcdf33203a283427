"""Copies the checkpoint of a trial's parent into the trial's own directory, once.

A trial that is started again after it was killed goes on from its own checkpoint: a mark beside the directory says that
the parent's was copied.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def inherit(config: Mapping[str, Any]) -> None:
    """Copy what `config` says: from `all`/`parent` into `all`/`own`."""
    everyone, parent = Path(config["all"]), config.get("parent")
    own, mark = everyone / config["own"], everyone / f".{config['own']}.inherited"
    if mark.exists():
        return
    own.mkdir(parents=True, exist_ok=True)
    if parent and (everyone / parent).is_dir():
        for entry in os.scandir(own):  # what an interrupted copy has left
            shutil.rmtree(entry.path) if entry.is_dir(follow_symlinks=False) else os.unlink(entry.path)
        shutil.copytree(everyone / parent, own, dirs_exist_ok=True, symlinks=True)
    mark.touch()
