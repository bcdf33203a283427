"""The tutorial pipeline as a user writes it: three lightweight components handing on a path through NamedTuples."""

from typing import NamedTuple

from kfp import dsl


@dsl.component
def create(name: str, rows: int, data: dsl.Output[dsl.Dataset]) -> NamedTuple(
    "Created", [("path", str), ("rows", int)]
):  # type: ignore[valid-type]
    from collections import namedtuple

    with open(data.path, "w") as file:
        file.write(name * rows)
    return namedtuple("Created", ["path", "rows"])(f"/data/{name}", rows)


@dsl.component
def process(path: str, data: dsl.Input[dsl.Dataset]) -> NamedTuple("Processed", [("path", str), ("size", int)]):  # type: ignore[valid-type]
    from collections import namedtuple

    with open(data.path) as file:
        return namedtuple("Processed", ["path", "size"])(path + "/processed", len(file.read()))


@dsl.component
def report(text: str, size: int, least: int = 1) -> str:
    if size < least:
        raise ValueError(f"no rows: {size} < {least}")
    return f"{text} ({size})"


@dsl.pipeline(name="tutorial")
def tutorial(name: str = "ab", rows: int = 3, least: int = 1) -> str:
    created = create(name=name, rows=rows)
    processed = process(path=created.outputs["path"], data=created.outputs["data"])
    reported = report(text=f"{name}: {processed.outputs['path']}", size=processed.outputs["size"], least=least)
    return reported.output
