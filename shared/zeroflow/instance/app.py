"""A user's Knative function project as a WSGI application: `gunicorn --threads=8 "zeroflow.instance.app:create_app()"`.

The project is the one that func-python serves, unchanged: `new()` returns an object with `async handle(scope, receive,
send)` and, as plain methods, optionally `start(cfg)`, `stop()`, `alive()` and `ready()`; or the module exports a plain
`handle`. All of it runs on one event loop per worker; gunicorn's `--threads` is how many requests it has at once.

Guarantees: `start` ends before the first request, and when it raises the worker exits, so that a revision never
becomes ready (func-python 0.8.1 logs it and serves); `stop` runs once, after the last request of a worker that ends.

Source: Knative Functions, func-python 0.8.1.
"""

import atexit
import logging
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from zeroflow.instance.exchange import Exchange
from zeroflow.instance.loop import LoopThread
from zeroflow.instance.middleware import CloudEventMiddleware, HttpMiddleware
from zeroflow.instance.project import Instance, Project

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

logger = logging.getLogger(__name__)


def create_app(module: str | None = None, invoke: str | None = None) -> "WSGIApplication":
    """Start the function of a project and return the application that serves it, for one worker process."""
    logging.basicConfig(level=logging.INFO)  # this is the process's entry point: what a function logs must be seen
    project = Project.find(module, invoke, os.environ, Path.cwd())
    thread, worker = LoopThread(), os.getpid()
    try:
        instance = thread.call(project.new)
        thread.call(_start, instance)
    except BaseException:
        thread.close()
        raise
    atexit.register(_stop, instance, thread)
    middleware = CloudEventMiddleware(instance) if project.invoke == "cloudevent" else HttpMiddleware(instance)

    def application(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        if os.getpid() != worker:
            raise RuntimeError("the function was started in another process: gunicorn's --preload is not supported")
        return Exchange(environ, thread).respond(middleware, start_response)

    return application


def _start(instance: Instance) -> None:
    if hasattr(instance, "start"):
        instance.start(dict(os.environ))


def _stop(instance: Instance, thread: LoopThread) -> None:
    """Stop the function when its worker exits: gunicorn has answered what it had, and the interpreter still runs."""
    try:
        if hasattr(instance, "stop"):
            thread.call(instance.stop)
    except (Exception, SystemExit):
        logger.exception("stop of the function failed")
    finally:
        thread.close()
