"""Metrics in lines of output, by Katib's rules; what a failed program said; templates."""

import pytest

from zeroflow.functions.trial.diagnosis import diagnosed
from zeroflow.functions.trial.observing import filters, objective_value, observation, read
from zeroflow.tuning.spec import Objective
from zeroflow.tuning.template import rendered

LOSS = Objective("loss", maximize=False, goal=None, additional=("m-acc",), strategies={"loss": "min", "m-acc": "max"})


def values(text: str, collector: dict | None = None) -> list[str]:
    output = read(text.splitlines(), LOSS, filters(collector or {}))
    return [value.text for value in output.series["loss"]]


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("loss=0.5", ["0.5"]),
        ("epoch 3: loss = -1.5e-3 m-acc=0.9", ["-1.5e-3"]),
        ("loss=.5", [".5"]),
        ("loss=1 loss=2", ["1", "2"]),
        ("loss=nan", []),
        ("loss: 0.5", []),
        ("train/loss=0.5", ["0.5"]),  # the filter's name ends at the slash
        ("train_loss=0.5", []),
        ("2026-11-21T07:00:00Z loss=3", ["3"]),
    ],
)
def test_the_default_filter(line, found):
    assert values(line) == found


def test_a_filter_of_ones_own():
    collector = {"source": {"filter": {"metricsFormat": [r"{name: ([\w|-]+), value: ((-?\d+)(\.\d+)?)}"]}}}
    assert values("{name: loss, value: 0.25}\nloss=7", collector) == ["0.25"]


def test_the_observation_has_latest_min_and_max_of_every_metric():
    output = read(["loss=0.50", "loss=0.25", "loss=0.30"], LOSS, filters({}))
    observed = observation(output, LOSS)
    assert observed["metrics"] == [
        {"name": "loss", "latest": "0.30", "min": "0.25", "max": "0.5"},
        {"name": "m-acc", "latest": "unavailable", "min": "unavailable", "max": "unavailable"},
    ]
    assert objective_value(observed, LOSS) == 0.25


def test_times_at_the_beginning_of_lines_decide_what_is_latest():
    lines = ["2026-01-01T00:00:02Z loss=2", "2026-01-01T00:00:01Z loss=1"]
    assert observation(read(lines, LOSS, filters({})), LOSS)["metrics"][0]["latest"] == "2"


def test_an_exception_is_what_a_failed_program_said_though_buffered_output_follows():
    output = read(["Traceback (most recent call last):", "KeyError: 'rows'", "loss=1", "bye"], LOSS, filters({}))
    assert output.error == "KeyError: 'rows'"
    assert output.last_words == "bye"


@pytest.mark.parametrize(
    ("said", "cure"),
    [
        ("NameError: name 'np' is not defined", "`import numpy as np`"),
        ("NameError: name 'helper' is not defined", "define helper inside"),
        ("ModuleNotFoundError: No module named 'xgboost.core'", "Install xgboost"),
        ("ValueError: bad", "ValueError: bad"),
    ],
)
def test_a_failure_is_said_with_its_cure(said, cure):
    assert cure in diagnosed(said)


def test_values_are_put_into_strings_and_change_nothing_else():
    template = {
        "trialParameters": [
            {"name": "a", "reference": "x"},
            {"name": "self", "reference": "${trialSpec.Name}"},
            {"name": "team", "reference": "${trialSpec.Labels[team]}"},
        ]
    }
    spec = {
        "kind": "Job",
        "metadata": {"labels": {"team": "blue"}},
        "spec": {"args": ["--a=${trialParameters.a}", "${trialParameters.self}/${trialParameters.team}"]},
    }
    made = rendered(template, spec, "t-1", "ns", {"x": '"}, ${trialParameters.self} $(rm)'})
    assert made["spec"]["args"] == ['--a="}, ${trialParameters.self} $(rm)', "t-1/blue"]
    assert made["metadata"] == {"labels": {"team": "blue"}, "name": "t-1", "namespace": "ns"}
