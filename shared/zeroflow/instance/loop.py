"""One event loop per worker process, in a thread of its own.

Everything of the user's function runs on it - new(), start(), handle(), alive(), ready() and stop() - so that a
function may share locks, connections and tasks between requests and needs no thread safety, as under an ASGI server.
"""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")


class LoopThread:
    """A running event loop that other threads hand work to."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        # A daemon: a handler that never returns must not keep a stopping worker alive.
        self._thread = threading.Thread(target=self._run, name="function", daemon=True)
        self._thread.start()

    def call(self, function: Callable[..., T], *arguments: object) -> T:
        """Run a plain function on the loop's thread, wait, and return or raise what it does."""
        result: Future[T] = Future()

        def run() -> None:
            try:
                result.set_result(function(*arguments))
            except BaseException as error:  # SystemExit too: it is the caller's to act on, and would end the loop
                result.set_exception(error)

        self.loop.call_soon_threadsafe(run)
        return result.result()

    def spawn(self, make: Callable[[], Any], finished: Callable[[], None]) -> None:
        """Start a coroutine, made on the loop; call `finished` there when it has ended."""

        def start() -> None:
            task: asyncio.Task[None] = self.loop.create_task(make())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            task.add_done_callback(lambda _: finished())

        self.soon(start)

    def soon(self, function: Callable[..., object], *arguments: object) -> None:
        """Run a plain function on the loop's thread without waiting; nothing happens once the loop is closed."""
        with contextlib.suppress(RuntimeError):
            self.loop.call_soon_threadsafe(function, *arguments)

    def close(self) -> None:
        """Cancel what still runs and end the thread."""
        self.soon(self.loop.stop)
        self._thread.join(timeout=5)

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()
        if remaining := asyncio.all_tasks(self.loop):
            for task in remaining:
                task.cancel()
            self.loop.run_until_complete(asyncio.wait(remaining))
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.close()
