"""From nothing: `zeroflow up` on a new home, then a run at once; how long until the first step's own code."""

import contextlib
import io
import logging
import tempfile
import time
import warnings
from pathlib import Path

ROUNDS = 5


def pipeline():
    """Return a KFP pipeline whose step notes when its code runs."""
    from kfp import dsl

    @dsl.component
    def note(path: str):
        import time

        with open(path, "w") as file:
            file.write(str(time.time()))

    @dsl.pipeline(name="first")
    def first(path: str):
        note(path=path)

    return first


def first_code_ms() -> tuple[float, float]:
    """Return milliseconds from the submission, and from the start of the host, to the step's code."""
    import kfp

    from benchmarks.host import running_host

    with tempfile.TemporaryDirectory() as scratch:
        path, started = Path(scratch) / "note", time.time()
        with running_host() as url:
            client = kfp.Client(host=url, namespace="default")  # asks nothing, so that nothing is warm
            asked = time.time()
            with contextlib.redirect_stdout(io.StringIO()):
                run = client.create_run_from_pipeline_func(pipeline(), arguments={"path": str(path)})
            assert client.wait_for_run_completion(run.run_id, 60, sleep_duration=0.05).state == "SUCCEEDED"
        at = float(path.read_text())
        return (at - asked) * 1000, (at - started) * 1000


def main() -> None:
    """Print milliseconds."""
    from benchmarks.report import line

    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    pairs = [first_code_ms() for _ in range(ROUNDS)]
    line("submission to code, cold", [pair[0] for pair in pairs], "ms")
    line("zeroflow up to code", [pair[1] for pair in pairs], "ms")


if __name__ == "__main__":
    main()
