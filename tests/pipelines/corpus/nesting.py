"""Pipelines in pipelines, exit handlers, retries, and tasks that run whatever became of others."""

from typing import List, NamedTuple, Optional

from kfp import dsl
from kfp.dsl import Dataset, Input, Output

from corpus.expecting import expect


@dsl.component
def say(text: str) -> str:
    return text


@dsl.component
def fail(text: str = "on purpose") -> str:
    raise ValueError(text)


@dsl.component
def told(status: dsl.PipelineTaskFinalStatus) -> str:
    return (
        f"{status.state} {status.pipeline_task_name} {status.error_code} {'on purpose' in (status.error_message or '')}"
    )


@dsl.component
def doubled(n: int) -> int:
    return 2 * n


@dsl.component
def total(numbers: list) -> int:
    return sum(numbers)


@dsl.component
def fails_at_first(marker: str) -> int:
    import os

    count = len(open(marker).read()) if os.path.exists(marker) else 0
    with open(marker, "a") as file:
        file.write("x")
    if count < 2:
        raise RuntimeError(f"try {count}")
    return count


@dsl.component
def dataset(text: str, made: Output[Dataset]):
    with open(made.path, "w") as file:
        file.write(text)


@dsl.component
def texts(data: Input[List[Dataset]]) -> str:
    return "".join(open(one.path).read() for one in data)


@dsl.pipeline
def double_all(numbers: List[int]) -> List[int]:
    with dsl.ParallelFor(numbers) as n:
        one = doubled(n=n)
    return dsl.Collected(one.output)


@dsl.pipeline
def all_datasets() -> List[Dataset]:
    with dsl.ParallelFor(["a", "b", "c"]) as text:
        made = dataset(text=text)
    return dsl.Collected(made.outputs["made"])


@dsl.pipeline
def guarded(text: str):
    with dsl.ExitHandler(told()):
        fail(text=text)


@dsl.pipeline
def pair(text: str, other: Optional[str] = None) -> NamedTuple("Outputs", [("first", str), ("second", str)]):
    first, second = say(text=text), say(text=text)
    outputs = NamedTuple("Outputs", [("first", str), ("second", str)])
    return outputs(first.output, second.output)


@expect(outputs={"total": {"Output": 12}}, arguments={"numbers": [1, 2, 3]})
@dsl.pipeline(name="collected-from-a-pipeline")
def collected_from_a_pipeline(numbers: List[int]):
    total(numbers=double_all(numbers=numbers).output)


@expect(outputs={"total": {"Output": 24}}, arguments={"numbers": [1, 2, 3]})
@dsl.pipeline(name="collected-twice")
def collected_twice(numbers: List[int]):
    total(numbers=double_all(numbers=double_all(numbers=numbers).output).output)


@expect(outputs={"texts": {"Output": "abc"}})
@dsl.pipeline(name="collected-artifacts-from-a-pipeline")
def collected_artifacts_from_a_pipeline():
    texts(data=all_datasets().output)


@expect(outputs={"say": {"Output": "x and x"}})
@dsl.pipeline(name="several-outputs-of-a-pipeline")
def several_outputs_of_a_pipeline():
    both = pair(text="x")
    say(text=f"{both.outputs['first']} and {both.outputs['second']}")


@expect("FAILED", outputs={"told": {"Output": "FAILED exit-handler-1 2 True"}}, error="on purpose")
@dsl.pipeline(name="exit-task-is-told-of-the-failure")
def exit_task_is_told_of_the_failure():
    with dsl.ExitHandler(told()):
        fail()


@expect(outputs={"told": {"Output": "COMPLETE exit-handler-1 None False"}})
@dsl.pipeline(name="exit-task-is-told-of-the-success")
def exit_task_is_told_of_the_success():
    with dsl.ExitHandler(told()):
        say(text="fine")


@expect("FAILED", error="on purpose")
@dsl.pipeline(name="exit-handler-in-a-loop")
def exit_handler_in_a_loop():
    with dsl.ParallelFor(["on purpose", "on purpose too"]) as text:
        guarded(text=text)


@expect(outputs={"fails-at-first": {"Output": 2}}, arguments={"marker": "{tmp}/retries"})
@dsl.pipeline(name="retry-with-backoff")
def retry_with_backoff(marker: str):
    fails_at_first(marker=marker).set_retry(3, backoff_duration="0s", backoff_factor=1.0)


@expect("FAILED", error="try 1", arguments={"marker": "{tmp}/too-few"})
@dsl.pipeline(name="too-few-retries")
def too_few_retries(marker: str):
    fails_at_first(marker=marker).set_retry(1)


@expect("FAILED", outputs={"say": {"Output": "anyway"}}, error="on purpose")
@dsl.pipeline(name="task-that-ignores-upstream-failure")
def task_that_ignores_upstream_failure():
    say(text="anyway").after(fail()).ignore_upstream_failure()


@dsl.pipeline
def one(text: str) -> str:
    return say(text=text).output


@dsl.pipeline
def two(text: str) -> str:
    return one(text=text).output


@dsl.pipeline
def three(text: str) -> str:
    return two(text=text).output


@dsl.pipeline
def four(text: str) -> str:
    return three(text=text).output


@expect(outputs={"say-2": {"Output": "deep"}, "": {"Output": "deep"}})
@dsl.pipeline(name="five-pipelines-deep")
def five_pipelines_deep() -> str:
    first = four(text=say(text="deep").output)
    return say(text=first.output).output


@expect(outputs={"say-3": {"Output": "c"}})
@dsl.pipeline(name="order-without-data")
def order_without_data():
    first = say(text="a")
    second = say(text="b").after(first)
    say(text="c").after(first, second)
