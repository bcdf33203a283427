"""Suggestions: inside the space, repeatable from seed and history, and better than chance where they learn."""

import math
from dataclasses import replace

import pytest

from zeroflow.functions.trial.algorithms.history import Search, Tried
from zeroflow.functions.trial.algorithms.space import coordinate_of, value_at
from zeroflow.functions.trial.suggesting import ALGORITHMS
from zeroflow.tuning.spec import Parameter

SPACE = (
    Parameter("x", "double", -5, 5),
    Parameter("lr", "double", 1e-5, 1e-1, distribution="logUniform"),
    Parameter("n", "int", 1, 9),
    Parameter("kind", "categorical", choices=("a", "b", "c")),
    Parameter("share", "double", 0, 1, step="0.1"),
    Parameter("bell", "double", -1, 1, distribution="normal"),
)
SHARES = {f"{tenth / 10}" for tenth in range(11)}
BOWL = (Parameter("x", "double", -5, 5), Parameter("y", "double", -5, 5))


def searched(name: str, space, objective, trials: int, seed: int = 7, maximize: bool = False) -> Search:
    settings = {"random_state": str(seed)}
    if name == "bayesianoptimization":
        settings["n_initial_points"] = "5"
    search = Search(space, settings, maximize, seed)
    for number in range(trials):
        suggested = ALGORITHMS[name](search)
        value = None if number % 10 == 4 else objective(suggested.parameters)  # now and then a trial fails
        tried = Tried(suggested.parameters, value, labels=suggested.labels, memory=suggested.memory)
        search = replace(search, history=(*search.history, tried))
    return search


@pytest.mark.parametrize(
    "name", ["random", "sobol", "tpe", "multivariate-tpe", "cmaes", "bayesianoptimization", "nsga2"]
)
def test_suggestions_lie_in_the_space_and_can_be_made_again(name):
    trials = 8 if name == "bayesianoptimization" else 14
    first = searched(name, SPACE, lambda each: float(each["x"]) ** 2, trials)
    for tried in first.history:
        assert -5 <= float(tried.parameters["x"]) <= 5
        assert 1e-5 <= float(tried.parameters["lr"]) <= 1e-1
        assert tried.parameters["n"] in set(map(str, range(1, 10)))
        assert tried.parameters["kind"] in {"a", "b", "c"}
        assert tried.parameters["share"] in SHARES
        assert -1 <= float(tried.parameters["bell"]) <= 1
    for number, tried in enumerate(first.history):
        again = ALGORITHMS[name](replace(first, history=first.history[:number]))
        assert again.parameters == tried.parameters
    assert len({tuple(tried.parameters.values()) for tried in first.history}) == trials


@pytest.mark.parametrize("maximize", [False, True], ids=["minimize", "maximize"])
@pytest.mark.parametrize("name", ["tpe", "multivariate-tpe", "cmaes", "bayesianoptimization"])
def test_what_learns_closes_in_on_the_optimum(name, maximize):
    sign = -1 if maximize else 1

    def bowl(each):
        return sign * ((float(each["x"]) - 2) ** 2 + (float(each["y"]) + 1) ** 2)

    trials = {"cmaes": 60, "bayesianoptimization": 14}.get(name, 35)
    values = [
        abs(tried.value) for tried in searched(name, BOWL, bowl, trials, maximize=maximize).history if tried.value
    ]
    chance = 100 / math.pi / trials  # the expected best of as many random points, by area
    assert min(values) < chance
    assert sum(values[-8:]) / 8 < 0.8 * 21.7  # the mean of random points


def test_the_grid_tries_every_combination_once_and_ends():
    space = (Parameter("n", "int", 1, 5, step="2"), SPACE[4], SPACE[3])
    search = Search(space, {}, False, 0)
    seen = []
    while (suggested := ALGORITHMS["grid"](search)) is not None:
        seen.append(tuple(suggested.parameters.values()))
        search = replace(search, history=(*search.history, Tried(suggested.parameters, 0.0)))
    assert len(seen) == len(set(seen)) == 3 * 11 * 3
    assert seen[:2] == [("1", "0.0", "a"), ("1", "0.0", "b")]


@pytest.mark.parametrize("parameter", SPACE, ids=lambda each: each.name)
def test_a_value_and_its_coordinate_belong_together(parameter):
    for coordinate in (0.0, 0.123, 0.5, 0.876, 1.0):
        value = value_at(parameter, coordinate)
        assert value_at(parameter, coordinate_of(parameter, value)) == pytest.approx(value) or math.isclose(
            float(value_at(parameter, coordinate_of(parameter, value))), float(value), rel_tol=1e-9, abs_tol=1e-9
        )


def test_a_normal_parameter_is_denser_in_the_middle():
    middle = sum(abs(float(value_at(SPACE[5], step / 1000))) <= 1 / 3 for step in range(1000))
    assert 660 <= middle <= 700  # one standard deviation is a third: 68.3 %
