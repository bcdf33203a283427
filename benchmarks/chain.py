"""A chain of 20 trivial steps, warm: what the platform adds to each, beside kfp.local's SubprocessRunner."""

import contextlib
import io
import logging
import os
import tempfile
import time
import warnings

STEPS = 20
ROUNDS = 5


def pipeline():
    """Return a KFP pipeline that is a chain."""
    from kfp import dsl

    @dsl.component
    def increment(n: int) -> int:
        return n + 1

    @dsl.pipeline(name="chain")
    def chain(start: int = 0) -> int:
        value = start
        for _ in range(STEPS):
            value = increment(n=value).output
        return value

    return chain


def zeroflow_seconds(url: str, rounds: int) -> list[float]:
    """Run the chain several times, never from the cache; return each run's duration by the server's clock."""
    import kfp

    client = kfp.Client(host=url)
    durations = []
    for number in range(rounds):
        with contextlib.redirect_stdout(io.StringIO()):  # the client prints where a UI would be
            run = client.create_run_from_pipeline_func(pipeline(), arguments={"start": number}, enable_caching=False)
        done = client.wait_for_run_completion(run.run_id, timeout=120, sleep_duration=0.2)
        assert done.state == "SUCCEEDED", done.state
        durations.append((done.finished_at - done.created_at).total_seconds())
    return durations


def subprocess_runner_seconds(rounds: int) -> list[float]:
    """Run the same chain with kfp.local."""
    from kfp import local

    durations = []
    with tempfile.TemporaryDirectory() as scratch:
        local.init(runner=local.SubprocessRunner(use_venv=False), pipeline_root=os.path.join(scratch, "root"))
        for number in range(rounds):
            began = time.monotonic()
            with contextlib.redirect_stdout(io.StringIO()):
                pipeline()(start=number)
            durations.append(time.monotonic() - began)
    return durations


def main() -> None:
    """Print milliseconds per step of both, and the ratio."""
    from benchmarks.host import running_host
    from benchmarks.report import line, ratio

    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    with running_host() as url:
        zeroflow_seconds(url, 1)
        ours = [seconds / STEPS * 1000 for seconds in zeroflow_seconds(url, ROUNDS)]
    theirs = [seconds / STEPS * 1000 for seconds in subprocess_runner_seconds(2)]
    line("zeroflow, warm", ours, "ms a step")
    line("kfp SubprocessRunner", theirs, "ms a step")
    ratio(theirs, ours)


if __name__ == "__main__":
    main()
