"""What predictors say of their answers: it survives the wire, it merges, and nobody else can say it."""

import json
import random
from typing import Any

import pytest

from zeroflow.errors import InvalidInput
from zeroflow.predictions import tokens
from zeroflow.predictions.feedback import FEEDBACK, Feedback
from zeroflow.predictions.latency import Latency, bucket
from zeroflow.predictions.observation import OBSERVED, Observation
from zeroflow.predictions.recorded import rows_of

SEEN = Observation(
    inferenceservice="iris",
    namespace="team",
    revision="iris-predictor-00002",
    model="iris",
    pod="iris-predictor-00002-abc",
    process="1f2e",
    sequence=3,
    start_ms=1_000,
    end_ms=6_000,
    requests=5,
    errors={"client": 2, "model": 1},
    latency=Latency({60: 4, 80: 1}),
    callers={"": 4, "ada": 1},
)


def test_observation_survives_the_wire() -> None:
    assert Observation.from_data(json.loads(json.dumps(SEEN.to_data()))) == SEEN
    assert SEEN.event_id == "iris-predictor-00002-abc.1f2e.3"
    assert SEEN.source == "/zeroflow/predictors/team/iris/iris-predictor-00002-abc"
    assert SEEN.failures == 1


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"requests": -1}, "requests must be"),
        ({"requests": True}, "requests must be"),
        ({"revision": None}, "revision must be a string"),
        ({"errors": []}, "errors must be an object"),
        ({"callers": {"ada": "x"}}, "ada must be a whole number"),
        ({"latency": {"scheme": "other"}}, "latency must have scheme"),
        ({"latency": {"scheme": "log2/8", "unit": "us", "counts": {"-3": 1}}}, r"latency\.counts\['-3'\]"),
    ],
    ids=str,
)
def test_malformed_observation_names_the_field(change: dict[str, Any], fault: str) -> None:
    with pytest.raises(InvalidInput, match=fault):
        Observation.from_data(SEEN.to_data() | change)


def test_quantiles_of_merged_parts_are_the_whole_ones() -> None:
    numbers = random.Random(7)
    taken = [numbers.lognormvariate(-6, 1.5) for _ in range(10_000)]
    parts = [Latency() for _ in range(7)]
    for at, seconds in enumerate(taken):
        parts[at % 7].add(seconds)
    merged = Latency.merged(Latency.from_data(part.to_data()) for part in parts)
    assert merged.total == 10_000
    for share in (0.5, 0.9, 0.99):
        exact = sorted(taken)[int(share * 10_000) - 1]
        assert merged.quantile(share) == pytest.approx(exact, rel=0.045)
    slow = sorted(taken)[9_900]
    assert merged.above(slow) == pytest.approx(100, abs=60)
    assert Latency().quantile(0.5) is None


@pytest.mark.parametrize("seconds", [0.0, -1.0, 1e-9, 1e-6, 1e9, float("inf")])
def test_any_latency_has_a_bucket(seconds: float) -> None:
    if seconds != float("inf"):
        assert 0 <= bucket(seconds) <= 400


def test_token_is_good_for_one_inferenceservice() -> None:
    token = tokens.issue("secret", "team", "iris")
    assert tokens.allows("secret", token, OBSERVED, SEEN.source)
    assert tokens.allows("secret", token, FEEDBACK, SEEN.source)
    for event_type, source in (
        ("dev.zeroflow.run.requested", SEEN.source),
        (OBSERVED, "/zeroflow/predictors/team/other/pod"),
        (OBSERVED, "/zeroflow/predictors/team/iris"),
        (OBSERVED, "/zeroflow/predictors/team/iris/"),
        (OBSERVED, "/other/predictors/team/iris/pod"),
        (OBSERVED, "/zeroflow/predictors/team/iris/a/b"),
    ):
        assert not tokens.allows("secret", token, event_type, source)
    assert not tokens.allows("secret", "", OBSERVED, SEEN.source)
    assert not tokens.allows("", tokens.issue("", "team", "iris"), OBSERVED, SEEN.source)


def test_feedback_has_an_id_of_its_own() -> None:
    given = Feedback("r1", (0, 2), "iris", "team", "iris-predictor-00002")
    assert Feedback.from_data(json.loads(json.dumps(given.to_data()))) == given
    assert given.event_id == Feedback("r1", (0, 2), "iris", "team", "iris-predictor-00002").event_id
    assert given.event_id != Feedback("r1", (0, 1), "iris", "team", "iris-predictor-00002").event_id
    for body in ({}, {"request_id": "r1"}, {"request_id": "", "labels": [1]}, {"request_id": "r", "labels": [None]}):
        with pytest.raises(InvalidInput):
            Feedback.from_data({**body, "inferenceservice": "iris", "namespace": "team"})


@pytest.mark.parametrize(
    ("answer", "rows"),
    [
        ({"predictions": [0, 2]}, [0, 2]),
        ({"predictions": ["a"], "batchId": "b"}, ["a"]),
        ({"outputs": [{"name": "predict", "shape": [2], "datatype": "INT64", "data": [0, 2]}]}, [0, 2]),
        ({"outputs": [{"name": "y", "shape": [2, 1], "datatype": "INT64", "data": [0, 2]}]}, [0, 2]),
        ({"outputs": [{"name": "y", "shape": [2, 2], "datatype": "FP32", "data": [1, 2, 3, 4]}]}, [[1, 2], [3, 4]]),
        ({"outputs": [{"name": "y", "shape": [2], "parameters": {"binary_data_size": 16}}]}, None),
        ({"outputs": [{"name": "y", "shape": [3], "data": [1, 2]}]}, None),
        ({"predictions": {"a": 1}}, None),
        ({"error": "no"}, None),
        ([1], None),
    ],
)
def test_rows_of_an_answer(answer: Any, rows: list[Any] | None) -> None:
    assert rows_of(answer) == rows
