"""A chain of 20 tasks in Prefect, on a server that the flow starts for itself; all in one process.

Prints the seconds from the first task to the last, without the start of the server.
"""

import os
import tempfile
import time

os.environ["PREFECT_HOME"] = tempfile.mkdtemp(prefix="prefect-")
os.environ["PREFECT_LOGGING_LEVEL"] = "ERROR"
os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] = "false"

from prefect import flow, task

STEPS = 20


@task
def increment(n: int) -> int:
    """Add one."""
    return n + 1


@flow
def chain() -> float:
    """Run the tasks one after the other."""
    value = increment(0)  # the first one also opens connections
    began = time.monotonic()
    for _ in range(STEPS):
        value = increment(value)
    assert value == STEPS + 1
    return time.monotonic() - began


if __name__ == "__main__":
    print(chain())
