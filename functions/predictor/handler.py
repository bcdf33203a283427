"""The predictor's HTTP edge: KServe's V1 and V2 REST routes over its models.

A predictor's one model is loaded while the worker starts, before it accepts a request: whoever is answered, is
answered by the model. When it cannot be loaded, the process says why in one line on standard error (and in Kubernetes'
termination message) and ends with code 3. A client's mistake is a 4xx with `{"error": TEXT}`; the connection stays
usable. Bodies are read as JSON whatever their content type says. Every answer carries `zeroflow-revision` and
`x-request-id`. Flask is imported by the first request that needs it: plain predictions and health do not.

Served by `gunicorn zeroflow.functions.predictor.handler:create_app()`, which listens on PORT.
"""

import gc
import logging
import os
import sys
from collections.abc import Iterable
from functools import cached_property
from typing import TYPE_CHECKING, NoReturn

from zeroflow.errors import ZeroflowError
from zeroflow.functions.predictor.http.fast import FastPath
from zeroflow.functions.predictor.predictor import Predictor
from zeroflow.functions.predictor.settings import PredictorSettings

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

MAX_THREADS = 64
"""Where requests are joined, so many of them may wait for each other."""
EXIT_NO_MODEL = 3
"""gunicorn's own code for a worker that did not boot: its arbiter stops instead of starting another."""

TERMINATION_LOG = "/dev/termination-log"
LIBRARIES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "ORT_DISABLE_TELEMETRY")
"""Set to 1, also for what a model's own code imports: requests run side by side in threads of their own, and a row is
too little work to share between more; ONNX Runtime tells nobody about the models (`zeroflow.models.compiled.runtime`).
"""


class Application:
    """What gunicorn serves; `config` tells a QuickWorker the limits."""

    def __init__(self, predictor: Predictor) -> None:
        settings = predictor.settings
        self.config = {
            "BODY_BYTES": settings.max_body_bytes,
            "WAITING": settings.max_waiting,
            "THREADS": 1 if settings.batch_rows is None else min(2 * settings.batch_rows, MAX_THREADS),
        }
        self._predictor = predictor
        self.wsgi_app = FastPath(self._beyond, predictor)

    def begin(self) -> None:
        """Prepare for requests, in the process that serves them; end it when it cannot ask the model."""
        try:
            self.wsgi_app.begin()
        except ZeroflowError as error:
            _give_up(self._predictor.settings, error)

    @cached_property
    def _behind(self) -> "WSGIApplication":
        from zeroflow.functions.predictor.http.behind import application

        return application(self._predictor).wsgi_app

    def _beyond(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        return self._behind(environ, start_response)

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        """Answer a request."""
        return self.wsgi_app(environ, start_response)


def create_app(settings: PredictorSettings | None = None) -> Application:
    """Load the models and return the WSGI application; end the process when the one model cannot be loaded."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    for name in LIBRARIES:
        os.environ.setdefault(name, "1")
    try:
        settings = settings or PredictorSettings.from_environment()
        predictor = Predictor.start(settings)
    except ZeroflowError as error:
        _give_up(settings, error)
    app = Application(predictor)
    gc.collect()
    gc.freeze()  # what is loaded stays: workers that are forked from here share it
    return app


def _give_up(settings: PredictorSettings | None, error: ZeroflowError) -> NoReturn:
    name = settings.model_name if settings else os.environ.get("MODEL_NAME", "?")
    line = f"model {name} cannot be served: {error.reason}: {error}"
    print(line, file=sys.stderr, flush=True)  # noqa: T201 - the one line that explains why this process ends
    try:
        with open(TERMINATION_LOG, "r+") as file:  # exists in a Kubernetes container only
            file.write(line)
    except OSError:
        pass
    raise SystemExit(EXIT_NO_MODEL)
