"""Searches whose next trial depends on how the others ended; constraints, conditional parameters, earlier trials."""

import json
from dataclasses import replace

import pytest

from tuning.experiments import experiment
from zeroflow.functions.trial import manifests
from zeroflow.functions.trial.algorithms import hyperband, nsga2, population
from zeroflow.functions.trial.algorithms.history import Search, Suggested, Tried, Wait
from zeroflow.functions.trial.records import Ended
from zeroflow.functions.trial.suggesting import ALGORITHMS, SuggestionFailed, next_assignments
from zeroflow.tuning.defaults import defaulted
from zeroflow.tuning.extensions import parse_extensions
from zeroflow.tuning.settings import DARTS_DEFAULTS
from zeroflow.tuning.spec import Parameter, parse

X = Parameter("x", "double", 0, 1)
EPOCHS = Parameter("epochs", "int", 1, 81)


def run(name: str, search: Search, objective, trials: int, at_once: int = 1) -> Search:
    """Try until the search has ended or so many were tried; `at_once` run at a time."""
    running: list[int] = []
    history: list[Tried] = list(search.history)
    while True:
        suggested = ALGORITHMS[name](replace(search, history=tuple(history))) if len(history) < trials else None
        if isinstance(suggested, Suggested) and len(running) < at_once:
            running.append(len(history))
            history.append(Tried(suggested.parameters, running=True, labels=suggested.labels, name=f"t{len(history)}"))
            continue
        if not running:
            assert not isinstance(suggested, Wait), "it waits for nothing"
            return replace(search, history=tuple(history))
        at = running.pop(0)
        value = objective(history[at].parameters)
        values = value if isinstance(value, tuple) else ()
        history[at] = replace(history[at], running=False, value=values[0] if values else value, values=values)


def test_hyperband_tries_what_the_paper_says():
    """R = 81, eta = 3: table 1 of the paper."""
    search = Search((X, EPOCHS), {"r_l": "81", "eta": "3", "resource_name": "epochs"}, False, 1)
    ended = run("hyperband", search, lambda each: float(each["x"]), 1000, at_once=7)
    told = {}
    for tried in ended.history:
        place = (int(tried.labels[hyperband.BRACKET]), int(tried.labels[hyperband.RUNG]))
        told.setdefault(place, []).append(tried)
    assert {place: (len(tried), tried[0].parameters["epochs"]) for place, tried in told.items()} == {
        (4, 0): (81, "1"),
        (4, 1): (27, "3"),
        (4, 2): (9, "9"),
        (4, 3): (3, "27"),
        (4, 4): (1, "81"),
        (3, 0): (34, "3"),
        (3, 1): (11, "9"),
        (3, 2): (3, "27"),
        (3, 3): (1, "81"),
        (2, 0): (15, "9"),
        (2, 1): (5, "27"),
        (2, 2): (1, "81"),
        (1, 0): (8, "27"),
        (1, 1): (2, "81"),
        (0, 0): (5, "81"),
    }
    best = sorted(float(tried.parameters["x"]) for tried in told[4, 0])[:27]
    assert sorted(float(tried.parameters["x"]) for tried in told[4, 1]) == best


def test_a_population_copies_its_best_and_says_whose_checkpoint_goes_on():
    settings = {"n_population": "10", "truncation_threshold": "0.2", "suggestion_trial_dir": "/c"}
    ended = run("pbt", Search((X,), settings, True, 3), lambda each: float(each["x"]), 30, at_once=4)
    generations = [[t for t in ended.history if t.labels[population.GENERATION] == str(g)] for g in range(3)]
    assert [len(each) for each in generations] == [10, 10, 10]
    ranked = sorted(generations[0], key=lambda each: -each.value)
    best, worst = {t.name for t in ranked[:2]}, {t.name for t in ranked[-2:]}
    parents = [tried.labels[population.PARENT] for tried in generations[1]]
    assert not worst & set(parents)
    copies = [tried for tried in generations[1] if tried.parameters in [t.parameters for t in ranked[:2]]]
    assert len(copies) >= 2
    assert {tried.labels[population.PARENT] for tried in copies} <= best
    assert sum(t.value for t in generations[2]) >= sum(t.value for t in generations[0])


def test_a_member_that_fails_is_tried_again():
    settings = {"n_population": "5", "truncation_threshold": "0.2", "suggestion_trial_dir": "/c"}
    search = Search(
        (X,),
        settings,
        True,
        3,
        (Tried({"x": "0.5"}, None, labels={"pbt.zeroflow.dev/slot": "0", population.GENERATION: "0"}),),
    )
    again = ALGORITHMS["pbt"](search)
    assert again.parameters == {"x": "0.5"}
    assert again.labels["pbt.zeroflow.dev/slot"] == "0"


def test_nsga2_spreads_along_the_trade_off():
    """Schaffer's problem: x^2 and (x - 2)^2; the trade-offs are x in [0, 2]."""
    space = (Parameter("x", "double", -10, 10),)
    settings = {"additional_objectives": "other:minimize", "population_size": "10"}
    search = Search(space, settings, False, 5, directions=(False, False))

    def objective(each):
        return float(each["x"]) ** 2, (float(each["x"]) - 2) ** 2

    ended = run("nsga2", search, objective, 120, at_once=4)
    front = [float(tried.parameters["x"]) for tried in nsga2.front(search, ended.history)]
    last = [float(tried.parameters["x"]) for tried in ended.history[-20:]]
    assert all(-0.2 <= x <= 2.2 for x in front)
    assert min(front) < 0.7
    assert max(front) > 1.3
    assert sum(-0.5 <= x <= 2.5 for x in last) >= 8  # by chance it would be three


NAS = {
    "graphConfig": {"numLayers": 3, "inputSizes": [8, 8, 1], "outputSizes": [10]},
    "operations": [
        {
            "operationType": "convolution",
            "parameters": [
                {"name": "filter_size", "parameterType": "categorical", "feasibleSpace": {"list": ["3", "5"]}}
            ],
        },
        {
            "operationType": "reduction",
            "parameters": [
                {
                    "name": "pool_size",
                    "parameterType": "int",
                    "feasibleSpace": {"min": "2", "max": "3", "step": "1"},
                }
            ],
        },
    ],
}


def test_darts_tells_the_trial_its_search_space():
    nas = {**NAS, "operations": [NAS["operations"][0], {"operationType": "skip_connection"}]}
    suggested = ALGORITHMS["darts"](Search((), {"num_epochs": "1", "batch_size": "None"}, True, 1, nas=nas))
    assert suggested.parameters["search-space"] == "['convolution_3x3', 'convolution_5x5', 'skip_connection']"
    settings = json.loads(suggested.parameters["algorithm-settings"].replace("'", '"'))
    assert settings == {**DARTS_DEFAULTS, "num_epochs": "1", "batch_size": None}
    assert suggested.parameters["num-layers"] == "3"


def test_enas_learns_which_operation_is_worth_more():
    pytest.importorskip("torch", reason="enas needs torch: pip install 'zeroflow[torch]'")
    settings = {"controller_learning_rate": "0.02", "controller_baseline_decay": "0.8", "controller_train_steps": "5"}
    search = Search((), settings, True, 1, nas=NAS)

    def worth(each):  # operation 0 in every layer is best
        return sum(layer[0] == 0 for layer in json.loads(each["architecture"])) / 3

    ended = run("enas", search, worth, 12)
    first = json.loads(ended.history[0].parameters["architecture"])
    assert [len(layer) for layer in first] == [1, 2, 3]
    config = json.loads(ended.history[0].parameters["nn_config"].replace("'", '"'))
    assert (config["num_layers"], config["input_sizes"]) == (3, [8, 8, 1])
    assert config["embedding"][str(first[0][0])]["opt_type"] in ("convolution", "reduction")
    again = ALGORITHMS["enas"](replace(ended, history=ended.history[:4]))
    assert again.parameters == ended.history[4].parameters
    values = [tried.value for tried in ended.history]
    assert sum(values[-6:]) > sum(values[:6])


def suggested(annotations, count: int = 12, algorithm: str = "random", earlier=None, given=(), **spec):
    obj = experiment("e", algorithm={"algorithmName": algorithm}, **spec)
    obj["metadata"] |= {"uid": "u-1", "annotations": annotations}
    obj = defaulted(obj)
    extensions = parse_extensions(obj["metadata"])
    made = next_assignments(obj, parse(obj["spec"]), list(given), {}, count, extensions, earlier)
    return [{each["name"]: each["value"] for each in one["parameterAssignments"]} for one in made.assignments]


TWO = [
    {"name": "x", "parameterType": "double", "feasibleSpace": {"min": "0", "max": "1"}},
    {"name": "kind", "parameterType": "categorical", "feasibleSpace": {"list": ["a", "b"]}},
]


@pytest.mark.parametrize("algorithm", ["random", "tpe", "sobol", "cmaes", "bayesianoptimization"])
def test_every_assignment_fulfils_the_constraints(algorithm):
    space = [TWO[0], {**TWO[0], "name": "y"}]
    constraints = {"zeroflow.dev/constraints": '["x + y <= 0.6", "x > y"]'}
    made = suggested(constraints, algorithm=algorithm, parameters=space)
    assert len(made) == 12
    assert all(float(each["x"]) + float(each["y"]) <= 0.6 and float(each["x"]) > float(each["y"]) for each in made)


def test_a_grid_leaves_out_what_the_constraints_forbid():
    steps = {"min": "0", "max": "1", "step": "0.5"}
    space = [{**TWO[0], "name": name, "feasibleSpace": steps} for name in ("x", "y")]
    made = suggested({"zeroflow.dev/constraints": '["x <= y"]'}, 20, "grid", parameters=space, maxTrialCount=9)
    assert len({tuple(each.values()) for each in made}) == len(made) == 6


def test_constraints_that_nothing_fulfils_are_told():
    with pytest.raises(SuggestionFailed, match="none of 500 assignments fulfils the constraints x > 2"):
        suggested({"zeroflow.dev/constraints": '["x > 2"]'})


def test_a_conditional_parameter_is_searched_only_where_its_condition_holds():
    conditional = json.dumps({"x": {"when": "kind == 'a'", "otherwise": "-1"}})
    made = suggested({"zeroflow.dev/conditional": conditional}, 20, "tpe", parameters=TWO)
    assert {each["x"] == "-1" for each in made if each["kind"] == "b"} == {True}
    assert all(0 <= float(each["x"]) <= 1 for each in made if each["kind"] == "a")


def test_what_an_algorithm_remembers_comes_back_from_its_trial(monkeypatch):
    counted = []

    def counting(search):
        counted.append([each.memory for each in search.history])
        return Suggested({"x": "0"}, memory=f"word {search.number}")

    monkeypatch.setitem(ALGORITHMS, "random", counting)
    obj = experiment("e")
    obj["metadata"]["uid"] = "u-1"
    obj = defaulted(obj)
    made = next_assignments(obj, parse(obj["spec"]), [], {}, 2).assignments
    back = [manifests.assignment_of(manifests.trial(obj, each)) for each in made]
    assert back == made
    next_assignments(obj, parse(obj["spec"]), back, {}, 1)
    assert counted == [[], ["word 0"], ["word 0", "word 1"]]


def test_a_search_learns_from_earlier_experiments():
    def earlier(name):
        assert name == "before"
        for number in range(40):
            x = number / 40
            metric = {"name": "loss", "latest": str(abs(x - 0.8)), "min": str(abs(x - 0.8)), "max": str(abs(x - 0.8))}
            yield Ended(f"u{number}", f"t{number}", number, {"x": str(x)}, "Succeeded", "", "", {"metrics": [metric]})

    cold = suggested({}, 8, "tpe", parameters=TWO[:1])
    warm = suggested(
        {"zeroflow.dev/warm-start": "before"}, 8, "tpe", lambda name: list(earlier(name)), parameters=TWO[:1]
    )
    assert sum(abs(float(each["x"]) - 0.8) for each in warm) < 0.6 * sum(abs(float(each["x"]) - 0.8) for each in cold)
