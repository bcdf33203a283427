"""Prints how long finding and listing take among 10,000 versions (ZEROFLOW_VERSIONS): `make scale`, not the suite."""

import os
import time
from statistics import median
from typing import Any

import pytest
from sqlalchemy import insert, select, text

from zeroflow.functions.register.entities import MODEL_VERSION
from zeroflow.functions.register.properties import indexed, wire
from zeroflow.functions.register.writing import tick
from zeroflow.metadata import Database
from zeroflow.metadata.registry import RegistryContext, RegistryContextProperty

VERSIONS = int(os.environ.get("ZEROFLOW_VERSIONS", "10000"))
CALLS = 60


@pytest.mark.scale
def test_reads_among_ten_thousand_versions(registry: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "documents", {})  # checking an answer takes longer than giving it
    model = registry.model()
    path = f"registered_models/{model['id']}/versions"
    calls = {
        "find by name": ("model_version", {"name": "1", "parentResourceId": model["id"]}),
        "list of 100": (path, {"pageSize": "100", "orderBy": "LAST_UPDATE_TIME", "sortOrder": "DESC"}),
        "one by property": (path, {"pageSize": "100", "filterQuery": "serial = 'n-7'"}),
        "100 of a hundredth by property": (path, {"pageSize": "100", "filterQuery": "team = 'blue-7'"}),
        "get": (f"registered_models/{model['id']}", {}),
    }
    _add(registry, model["id"], 1, 101)
    few = {name: _p50_ms(registry, *call) for name, call in calls.items()}
    _add(registry, model["id"], 101, VERSIONS + 1)
    many = {name: _p50_ms(registry, *call) for name, call in calls.items()}
    backend = registry.database_url.split(":")[0]
    for name in calls:
        print(f"{backend}: {name}: p50 {few[name]:.2f} ms at 100, {many[name]:.2f} ms at {VERSIONS} versions")
    creates = []
    for _ in range(CALLS):
        started = time.perf_counter()
        registry.version(model)
        creates.append((time.perf_counter() - started) * 1000)
    print(f"{backend}: durable create of a version: p50 {median(creates):.2f} ms")


def _p50_ms(registry: Any, path: str, query: dict[str, str]) -> float:
    times = []
    for _ in range(CALLS):
        started = time.perf_counter()
        registry.ok("GET", path, query=query)
        times.append((time.perf_counter() - started) * 1000)
    return median(times)


def _add(registry: Any, model_id: str, start: int, stop: int) -> None:
    """Write versions straight into the tables, as so many creations would have left them."""
    database = Database(registry.database_url)
    with database.transaction() as session:
        time_ms = tick(session)
        rows = [
            {
                "kind": MODEL_VERSION.kind,
                "parent_id": int(model_id),
                "name": str(number),
                "state": "LIVE",
                "fields": {},
                "custom_properties": wire({"team": f"blue-{number % 100}", "serial": f"n-{number}"}),
                "created_ms": time_ms - stop + number,
                "updated_ms": time_ms - stop + number,
            }
            for number in range(start, stop)
        ]
        session.execute(insert(RegistryContext), rows)
        found = select(RegistryContext).where(RegistryContext.parent_id == int(model_id))
        versions = [row for row in session.scalars(found) if start <= int(row.name) < stop]
        session.execute(
            insert(RegistryContextProperty),
            [
                {"owner_id": version.id, "name": name, **vars(value)}
                for version in versions
                for name, value in indexed(version.custom_properties).items()
            ],
        )
    with database.transaction() as session:
        session.execute(text("ANALYZE"))  # PostgreSQL's own comes within a minute of such a change
    database.close()
