"""A plain KFP pipeline: three Python steps that pass data, a model and metrics on."""

from kfp import dsl
from kfp.dsl import Dataset, Input, Metrics, Model, Output


@dsl.component
def load(rows: int, data: Output[Dataset]):
    import random

    random.seed(0)
    with open(data.path, "w") as file:
        for _ in range(rows):
            x = random.random()
            print(x, 3 * x + 1 + random.gauss(0, 0.1), sep=",", file=file)


@dsl.component
def fit(data: Input[Dataset], model: Output[Model]) -> float:
    import json

    points = [tuple(map(float, line.split(","))) for line in open(data.path)]
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    slope = sum((x - mean_x) * (y - mean_y) for x, y in points) / sum((x - mean_x) ** 2 for x, _ in points)
    with open(model.path, "w") as file:
        json.dump({"slope": slope, "intercept": mean_y - slope * mean_x}, file)
    return slope


@dsl.component
def check(slope: float, metrics: Output[Metrics]) -> str:
    metrics.log_metric("error", abs(slope - 3))
    return f"the slope is {slope:.2f}"


@dsl.pipeline(name="hello")
def hello(rows: int = 1000) -> str:
    data = load(rows=rows)
    fitted = fit(data=data.outputs["data"])
    return check(slope=fitted.outputs["Output"]).outputs["Output"]
