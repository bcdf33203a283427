"""An attempt's log: written in place on a local store, so that it can be followed; else uploaded at the end."""

from contextlib import suppress
from pathlib import Path

from zeroflow.artifacts import Stores
from zeroflow.errors import ZeroflowError
from zeroflow.functions.step.workspace import Workspace


class Log:
    """Where a step's output goes, and what the platform has to say about it."""

    def __init__(self, uri: str, workspace: Workspace, stores: Stores) -> None:
        store, parsed = stores.of(uri)
        self._uri, self._stores = uri, stores
        local = store.local_path(parsed)
        self._remote = local is None
        self.path: Path = local or workspace.path / "log"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if local is not None:
            workspace.begin_log(local)

    def note(self, line: str) -> None:
        """Add a line of the platform's."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(f"[zeroflow] {line}\n")

    def keep(self) -> None:
        """Put the log where it belongs; a store that does not take it does not change how the step ended."""
        if self._remote and self.path.exists():
            with suppress(ZeroflowError):
                self._stores.put(self.path, self._uri)
