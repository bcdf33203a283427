"""Metrics in lines of output, by Katib's rules; what a failed program said; templates."""

import pytest

from zeroflow.functions.trial.diagnosis import diagnosed
from zeroflow.functions.trial.observing import missing, objective_value, observation, read
from zeroflow.tuning.collectors import Collector
from zeroflow.tuning.spec import Objective
from zeroflow.tuning.template import rendered

LOSS = Objective("loss", maximize=False, goal=None, additional=("m-acc",), strategies={"loss": "min", "m-acc": "max"})


STDOUT = Collector("StdOut")
JSON_FILE = Collector("File", path="/katib/m.json", format="JSON")


def values(text: str, collector: Collector = STDOUT) -> list[str]:
    output = read(text.splitlines(), LOSS, collector)
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
    collector = Collector("StdOut", filters=(r"{name: ([\w|-]+), value: ((-?\d+)(\.\d+)?)}",))
    assert values("{name: loss, value: 0.25}\nloss=7", collector) == ["0.25"]


def test_the_observation_has_latest_min_and_max_of_every_metric():
    output = read(["loss=0.50", "loss=0.25", "loss=0.30"], LOSS, STDOUT)
    observed = observation(output, LOSS)
    assert observed["metrics"] == [
        {"name": "loss", "latest": "0.30", "min": "0.25", "max": "0.5"},
        {"name": "m-acc", "latest": "unavailable", "min": "unavailable", "max": "unavailable"},
    ]
    assert objective_value(observed, LOSS) == 0.25


def test_times_at_the_beginning_of_lines_decide_what_is_latest():
    lines = ["2026-01-01T00:00:02Z loss=2", "2026-01-01T00:00:01Z loss=1"]
    assert observation(read(lines, LOSS, STDOUT), LOSS)["metrics"][0]["latest"] == "2"


def test_an_exception_is_what_a_failed_program_said_though_buffered_output_follows():
    output = read(["Traceback (most recent call last):", "KeyError: 'rows'", "loss=1", "bye"], LOSS, STDOUT)
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


def test_only_marked_lines_tell_of_a_trial_whose_metrics_are_in_a_file():
    file = Collector("File", path="/katib/m.log")
    assert values("loss=9\n[metrics] loss=1\n[metrics] epoch 2 loss=2", file) == ["1", "2"]


def test_json_lines_have_metrics_as_words_or_numbers_and_times():
    lines = ['[metrics] {"loss": "0.5", "timestamp": 1700000000.5}', '[metrics] {"loss": 0.25, "m-acc": true}']
    output = read(lines, LOSS, JSON_FILE)
    assert [value.text for value in output.series["loss"]] == ["0.5", "0.25"]
    assert output.series["loss"][0].reported_at == "2023-11-14T22:13:20.500000Z"
    assert output.series["m-acc"] == []


@pytest.mark.parametrize(
    ("lines", "collector", "said"),
    [
        (["loss=nan"], STDOUT, "no finite number for the objective metric 'loss': loss=nan"),
        (['[metrics] {"loss": "inf"}'], JSON_FILE, "no finite number"),
        (["[metrics] oops"], JSON_FILE, "/katib/m.json is not one JSON object a line: oops"),
        (["done"], STDOUT, "print loss=NUMBER"),
        ([], Collector("Push"), "reported to the DB manager"),
    ],
    ids=["nan", "inf", "no-json", "nothing", "nothing-pushed"],
)
def test_a_trial_without_a_value_says_what_it_had_instead(lines, collector, said):
    assert said in missing(read(lines, LOSS, collector), LOSS, collector)


def test_values_that_are_not_finite_stay_in_the_series_and_count_for_nothing():
    collector = Collector("StdOut", filters=(r"([\w-]+)=(\S+)",))
    output = read(["loss=0.5", "loss=nan", "loss=-inf"], LOSS, collector)
    assert [value.text for value in output.series["loss"]] == ["0.5", "nan", "-inf"]
    assert observation(output, LOSS)["metrics"][0] == {"name": "loss", "latest": "0.5", "min": "0.5", "max": "0.5"}
