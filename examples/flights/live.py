"""Live traffic: predictions over HTTP, counted and judged by the revision that gave them."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass, field

import pandas as pd
import urllib3
from flights import model_rows
from host import DemoFailed, Host, http

BATCH = 5
"""Flights per request."""


@dataclass
class Scored:
    """Live predictions of one revision."""

    late: list[int] = field(default_factory=list)
    probability: list[float] = field(default_factory=list)
    milliseconds: list[float] = field(default_factory=list)

    @property
    def median_ms(self) -> float:
        """Median time of a request."""
        return statistics.median(self.milliseconds)


def predictions(host: Host, name: str, flights: pd.DataFrame, requests: int) -> dict[str, Scored]:
    """Ask for predictions over HTTP (Open Inference Protocol); return them by the revision that answered."""
    url = host.inference_service(name)["status"]["url"]
    rows = model_rows(flights).sample(requests * BATCH, random_state=0)
    live: dict[str, Scored] = {}
    for start in range(0, len(rows), BATCH):
        chunk = rows.iloc[start : start + BATCH]
        began = time.monotonic()
        answer = infer(url, name, chunk.drop(columns="late"))
        scored = live.setdefault(answer.headers["zeroflow-revision"], Scored())
        scored.milliseconds.append((time.monotonic() - began) * 1000)
        probabilities = next(o for o in answer.json()["outputs"] if o["name"] == "predict_proba")["data"]
        scored.probability.extend(probabilities[1::2])
        scored.late.extend(chunk["late"])
    return live


def infer(url: str, name: str, rows: pd.DataFrame) -> urllib3.BaseHTTPResponse:
    """POST one V2 inference request; any answer but 200 ends the demo."""
    values = [None if pd.isna(value) else value for value in rows.to_numpy().ravel().tolist()]
    tensor = {"name": "flights", "datatype": "FP64", "shape": list(rows.shape), "data": values}
    body = {"inputs": [tensor], "outputs": [{"name": "predict_proba"}]}
    answer = http.request("POST", f"{url}/v2/models/{name}/infer", json=body)
    if answer.status != 200:
        raise DemoFailed(f"a prediction answered {answer.status}: {answer.data[:300]!r}")
    return answer


def shares(live: dict[str, Scored]) -> str:
    """Describe who answered."""
    return ", ".join(f"{revision} {share(live, revision):.0%}" for revision in sorted(live))


def share(live: dict[str, Scored], revision: str) -> float:
    """Return a revision's share of the predictions."""
    return len(live[revision].late) / sum(len(scored.late) for scored in live.values())
