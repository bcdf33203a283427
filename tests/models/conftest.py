"""Models as their own libraries write them, and what attackers write."""

import os
import pickle
from pathlib import Path
from typing import Any

import pytest

from zeroflow.artifacts import Stores


class Attack:
    """A pickle that creates a file when somebody loads it."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (str(self.trace),))


@pytest.fixture
def stores(tmp_path: Path) -> Stores:
    return Stores(tmp_path / "store")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """The directory behind store://models/iris/."""
    path = tmp_path / "store" / "models" / "iris"
    path.mkdir(parents=True)
    return path


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    """What exists after the attack has run."""
    return tmp_path / "attacked"


@pytest.fixture
def attack(trace: Path) -> bytes:
    return pickle.dumps(Attack(trace))


@pytest.fixture(scope="session")
def classifier() -> Any:
    from sklearn.datasets import load_iris
    from sklearn.linear_model import LogisticRegression

    rows, classes = load_iris(return_X_y=True)
    return LogisticRegression(max_iter=500).fit(rows, classes)
