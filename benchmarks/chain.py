"""A chain of 20 trivial steps, warm: what the platform adds to each, beside peers and a bare process per step.

Peers in the same run: kfp.local's SubprocessRunner as users write it (a virtual environment per step) and without
environments, Metaflow (a process per step), Prefect (one process for all), and `python -c` with kfp imported.
"""

import contextlib
import io
import logging
import os
import subprocess
import sys
import tempfile
import time
import warnings

STEPS = 20
ROUNDS = 5
VENV_STEPS = 2
"""Steps of the peer that builds an environment for each; more would only take longer."""


def pipeline(steps: int = STEPS):
    """Return a KFP pipeline that is a chain."""
    from kfp import dsl

    @dsl.component
    def increment(n: int) -> int:
        return n + 1

    @dsl.pipeline(name="chain")
    def chain(start: int = 0) -> int:
        value = start
        for _ in range(steps):
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


def subprocess_runner_seconds(steps: int, *, use_venv: bool) -> float:
    """Run a chain with kfp.local."""
    from kfp import local

    with tempfile.TemporaryDirectory() as scratch, contextlib.redirect_stdout(io.StringIO()):
        local.init(runner=local.SubprocessRunner(use_venv=use_venv), pipeline_root=os.path.join(scratch, "root"))
        began = time.monotonic()
        pipeline(steps)(start=0)
        return time.monotonic() - began


def metaflow_seconds() -> float:
    """Run the chain with Metaflow."""
    from benchmarks.servers import PEERS, python_of

    python = python_of("metaflow")
    with tempfile.TemporaryDirectory() as scratch:
        environment = {
            **os.environ,
            "METAFLOW_HOME": scratch,
            "USERNAME": "bench",
            "METAFLOW_DEFAULT_DATASTORE": "local",
        }
        began = time.monotonic()
        command = [python, str(PEERS / "metaflow_chain.py"), "--quiet", "run"]
        subprocess.run(command, cwd=scratch, env=environment, check=True, capture_output=True)
        return time.monotonic() - began


def prefect_seconds() -> float:
    """Run the chain with Prefect."""
    from benchmarks.servers import PEERS, python_of

    command = [python_of("prefect"), str(PEERS / "prefect_chain.py")]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=tempfile.gettempdir())
    return float(done.stdout.split()[-1])


def bare_process_seconds() -> float:
    """Start one Python with kfp imported: the floor for whoever starts a process per step."""
    began = time.monotonic()
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", "import kfp.dsl; print(0 + 1)"], check=True, capture_output=True
    )
    return time.monotonic() - began


def main() -> None:
    """Print milliseconds per step of all, and the ratios."""
    from benchmarks.host import running_host
    from benchmarks.report import line, ratio

    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    with running_host() as url:
        zeroflow_seconds(url, 1)
        ours = [seconds / STEPS * 1000 for seconds in zeroflow_seconds(url, ROUNDS)]
    line("zeroflow, warm", ours, "ms a step")
    bare_process_seconds()
    peers = {
        "a bare python, kfp imported": [bare_process_seconds() * 1000 for _ in range(5)],
        "Prefect, in one process": [prefect_seconds() / STEPS * 1000],
        "Metaflow": [metaflow_seconds() / STEPS * 1000],
        "kfp SubprocessRunner": [subprocess_runner_seconds(STEPS, use_venv=False) / STEPS * 1000],
        "the same, with its venvs": [subprocess_runner_seconds(VENV_STEPS, use_venv=True) / VENV_STEPS * 1000],
    }
    for name, theirs in peers.items():
        line(name, theirs, "ms a step")
        ratio(theirs, ours)


if __name__ == "__main__":
    main()
