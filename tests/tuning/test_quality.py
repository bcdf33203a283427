"""How good searches are: medians of the best over ten seeds on Branin and Hartmann6, beside Optuna's own figures.

The figures are of Optuna's samplers on the same functions, after 30 and after 60 trials. A median of ten seeds moves;
what is asserted leaves room for that, what is printed does not.
"""

import math
import statistics
from dataclasses import replace

import pytest

from zeroflow.functions.trial.algorithms.history import Search, Tried
from zeroflow.functions.trial.suggesting import ALGORITHMS
from zeroflow.tuning.spec import Parameter

BRANIN = (Parameter("x", "double", -5, 10), Parameter("y", "double", 0, 15))
UNIT = tuple(Parameter(f"x{at}", "double", 0, 1) for at in range(6))
A = [
    [10, 3, 17, 3.5, 1.7, 8],
    [0.05, 10, 17, 0.1, 8, 14],
    [3, 3.5, 1.7, 10, 17, 8],
    [17, 8, 0.05, 10, 0.1, 14],
]
P = [
    [0.1312, 0.1696, 0.5569, 0.0124, 0.8283, 0.5886],
    [0.2329, 0.4135, 0.8307, 0.3736, 0.1004, 0.9991],
    [0.2348, 0.1451, 0.3522, 0.2883, 0.3047, 0.6650],
    [0.4047, 0.8828, 0.8732, 0.5743, 0.1091, 0.0381],
]
ALPHA = [1.0, 1.2, 3.0, 3.2]


def branin(each) -> float:
    x, y = float(each["x"]), float(each["y"])
    bend = y - 5.1 / (4 * math.pi**2) * x**2 + 5 / math.pi * x - 6
    return bend**2 + 10 * (1 - 1 / (8 * math.pi)) * math.cos(x) + 10


def hartmann6(each) -> float:
    x = [float(each[f"x{at}"]) for at in range(6)]
    return -sum(
        alpha * math.exp(-sum(a * (v - p) ** 2 for a, v, p in zip(weights, x, centre, strict=True)))
        for alpha, weights, centre in zip(ALPHA, A, P, strict=True)
    )


FIGURES = {
    ("branin", "random"): (1.607, 1.281),
    ("branin", "tpe"): (0.515, 0.465),
    ("branin", "bayesianoptimization"): (0.405, 0.398),
    ("branin", "cmaes"): (3.030, 0.894),
    ("hartmann6", "random"): (-1.150, -1.878),
    ("hartmann6", "tpe"): (-2.737, -3.077),
    ("hartmann6", "bayesianoptimization"): (-3.078, -3.321),
    ("hartmann6", "cmaes"): (-1.897, -2.654),
}
ROOM = {"branin": (0.6, 0.25), "hartmann6": (0.45, 0.35)}


@pytest.mark.scale
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("function", "algorithm"), FIGURES, ids=lambda each: each)
def test_medians_are_no_worse_than_optunas(function, algorithm):
    space, objective = (BRANIN, branin) if function == "branin" else (UNIT, hartmann6)
    bests = [best(algorithm, space, objective, seed) for seed in range(10)]
    medians = [statistics.median(each[at] for each in bests) for at in (0, 1)]
    figures = FIGURES[function, algorithm]
    print(
        f"\n{function:<10}{algorithm:<22}"
        + "  ".join(f"{m:7.3f} (Optuna {f:6.3f})" for m, f in zip(medians, figures, strict=True))
    )
    for median, figure, room in zip(medians, figures, ROOM[function], strict=True):
        assert median <= figure + room


def best(algorithm, space, objective, seed: int) -> tuple[float, float]:
    """Return the best value after 30 and after 60 trials."""
    search, values = Search(space, {}, False, seed), []
    for _ in range(60):
        suggested = ALGORITHMS[algorithm](search)
        values.append(objective(suggested.parameters))
        search = replace(
            search, history=(*search.history, Tried(suggested.parameters, values[-1], labels=suggested.labels))
        )
    return min(values[:30]), min(values)
