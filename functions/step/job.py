"""What the Job of a step runs: `python -m zeroflow.functions.step.job REQUEST_URI`.

It does what the step function does for other steps, without the limit of a request, and writes the outcome to the
store. It exits with 0 when the outcome is written, whatever it is: any other code says that the attempt must be made
again. A pod that takes over after one was lost goes on from the attempt's folder where that is still there.
"""

import logging
import math
import os
import signal
import sys

from zeroflow.artifacts import Stores
from zeroflow.errors import NotFound, ZeroflowError
from zeroflow.functions.step import execution, jobs
from zeroflow.functions.step.request import Attempt
from zeroflow.functions.step.settings import StepSettings
from zeroflow.functions.step.steps import Steps
from zeroflow.settings import Settings

logger = logging.getLogger("zeroflow.step")

EXIT_AGAIN = 75


def main(uri: str) -> int:
    """Make the attempt that the request asks for, unless its outcome is there."""
    settings = Settings.from_environment({**os.environ, "ZEROFLOW_DATABASE_URL": "unused://"})
    stores = Stores.from_settings(settings)
    request = jobs.read_json(stores, uri)
    if request is None:
        raise NotFound(f"there is no request at {uri}")
    attempt = Attempt.parse(request)
    steps = Steps(StepSettings.from_environment(settings), stores, os.environ, inside_job=True)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(EXIT_AGAIN))
    workspace = steps.workspace(attempt)
    try:
        with workspace.held():
            outcome = execution.run(steps, workspace, request, math.inf)
            assert outcome is not None  # a Job makes no other
            jobs.put_json(stores, jobs.outcome_uri(attempt), outcome.as_json())
            workspace.discard_now()
    finally:
        steps.close()
    said = f"{outcome.error['reason']}: {outcome.error['message']}; " if outcome.error else ""
    logger.info("%s: %slog: %s", outcome.state, said, request.get("log_uri"))
    return 0


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        sys.exit(main(sys.argv[1]))
    except ZeroflowError as error:
        logger.error("%s: %s", error.reason, error)
        sys.exit(EXIT_AGAIN)
