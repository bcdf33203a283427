"""A ParallelFor over 1,000 items, warm: steps a second on this machine, beside the same loop over 100."""

import contextlib
import io
import logging
import sys
import time
import warnings

ITEMS = 1000


def pipeline():
    """Return a KFP pipeline that is a loop."""
    from kfp import dsl

    @dsl.component
    def increment(n: int) -> int:
        return n + 1

    @dsl.pipeline(name="fan-out")
    def fan_out(items: list[int]):
        with dsl.ParallelFor(items) as item:
            increment(n=item)

    return fan_out


def seconds(url: str, items: int) -> float:
    """Run the loop, never from the cache; return the run's duration by the server's clock."""
    import kfp

    client = kfp.Client(host=url)
    offset = int(time.time() * 1000)
    with contextlib.redirect_stdout(io.StringIO()):
        run = client.create_run_from_pipeline_func(
            pipeline(), arguments={"items": [offset + number for number in range(items)]}, enable_caching=False
        )
    done = client.wait_for_run_completion(run.run_id, timeout=3600, sleep_duration=0.5)
    assert done.state == "SUCCEEDED", done.state
    return (done.finished_at - done.created_at).total_seconds()


def main() -> None:
    """Print steps a second."""
    from benchmarks.host import running_host
    from benchmarks.report import line

    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    items = int(sys.argv[1]) if __name__ == "__main__" and len(sys.argv) > 1 else ITEMS
    with running_host() as url:
        seconds(url, 20)
        line(f"fan-out over {items}", [items / seconds(url, items)], "steps/s")
        line("the same over 100", [100 / seconds(url, 100) for _ in range(3)], "steps/s")


if __name__ == "__main__":
    main()
