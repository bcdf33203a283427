"""KFP pipelines as users write them; compiled by the tests with the official SDK."""

from typing import NamedTuple

from kfp import dsl


@dsl.component(base_image="python:3.9-slim-buster")
def load_data_op() -> NamedTuple("Outputs", [("data_path", str)]):
    import tempfile

    data_path = tempfile.mkdtemp() + "/my_dataset.csv"
    with open(data_path, "w") as f:
        f.write("feature1,feature2,target\n1,2,0\n3,4,1\n5,6,0")
    return (data_path,)


@dsl.component(base_image="python:3.9-slim-buster")
def preprocess_data_op(data_path: str) -> NamedTuple("Outputs", [("processed_data_path", str)]):
    with open(data_path) as f_in:
        content = f_in.read()
    processed_data_path = data_path.replace("my_dataset", "processed")
    with open(processed_data_path, "w") as f_out:
        f_out.write(content + "\n7,8,1")
    return (processed_data_path,)


@dsl.component(base_image="python:3.9-slim-buster")
def train_model_op(processed_data_path: str) -> NamedTuple("Outputs", [("model_path", str)]):
    with open(processed_data_path) as f:
        rows = f.read().count("\n")
    model_path = processed_data_path.replace("processed.csv", "my_model.pkl")
    with open(model_path, "w") as f:
        f.write(f"trained on {rows} rows")
    return (model_path,)


@dsl.pipeline(name="Simple ML Workflow", description="Loading, preprocessing and training, by paths.")
def simple_ml_workflow():
    load_task = load_data_op()
    preprocess_task = preprocess_data_op(data_path=load_task.outputs["data_path"])
    train_model_op(processed_data_path=preprocess_task.outputs["processed_data_path"])


@dsl.component
def fails(rows: int) -> int:
    if rows == 0:
        raise ValueError("no rows to train on")
    return rows


@dsl.pipeline(name="failing")
def failing(rows: int = 0):
    fails(rows=fails(rows=rows).output)


@dsl.component
def note(path: str, number: int, seconds: float) -> int:
    """Write down that this step ran to its end."""
    import time

    time.sleep(seconds)
    with open(path, "a") as file:
        file.write(f"{number}\n")
    return number + 1


@dsl.pipeline(name="twenty-steps")
def twenty_steps(path: str, seconds: float = 0.05):
    number = 0
    for _ in range(20):
        number = note(path=path, number=number, seconds=seconds).output


@dsl.component
def say(word: str) -> str:
    return word.upper()


@dsl.pipeline(name="say-it")
def say_it(word: str) -> str:
    return say(word=word).output


@dsl.component
def make_model(rows: int, model: dsl.Output[dsl.Model]) -> float:
    import joblib
    from sklearn.datasets import load_iris
    from sklearn.linear_model import LogisticRegression

    x, y = load_iris(return_X_y=True)
    classifier = LogisticRegression(max_iter=500).fit(x[:rows], y[:rows])
    joblib.dump(classifier, model.path)
    model.metadata.update(framework="sklearn", register_as="iris", accuracy=float(classifier.score(x, y)))
    return float(classifier.score(x, y))


@dsl.pipeline(name="iris")
def iris(rows: int = 150) -> float:
    return make_model(rows=rows).outputs["Output"]


@dsl.component
def add_one(n: int) -> int:
    return n + 1


@dsl.component
def check_sum(found: list[int], total: int):
    assert len(set(found)) == len(found)
    assert sum(found) == total, (sum(found), total)


@dsl.pipeline(name="numbers")
def numbers(items: list[int], total: int):
    with dsl.ParallelFor(items) as item:
        added = add_one(n=item)
    check_sum(found=dsl.Collected(added.output), total=total)


def chain_of(length: int):
    """Return a pipeline that is a chain of steps."""

    @dsl.pipeline(name=f"chain-of-{length}")
    def chain(start: int = 0):
        value = add_one(n=start).output
        for _ in range(length - 1):
            value = add_one(n=value).output

    return chain
