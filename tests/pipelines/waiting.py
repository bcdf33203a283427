"""A pipeline whose step ends when a file appears."""

from kfp import dsl


@dsl.component
def wait(path: str) -> None:
    import os
    import time

    while not os.path.exists(path):
        time.sleep(0.01)


@dsl.pipeline(name="waiting")
def waiting(path: str) -> None:
    wait(path=path)
