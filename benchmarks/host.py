"""A host of the benchmark's own, in a home that is removed."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path


@contextmanager
def running_host(*options: str) -> Iterator[str]:
    """Run `zeroflow up` on a free port; yield its URL."""
    with host_process(*options) as (url, _):
        yield url


@contextmanager
def host_process(*options: str, home: str | None = None) -> Iterator[tuple[str, int]]:
    """Run `zeroflow up` on a free port; yield its URL and process id. `home` is kept when it is given."""
    with ExitStack() as stack:
        home = home or stack.enter_context(tempfile.TemporaryDirectory(prefix="zeroflow-bench-"))
        command = [sys.executable, "-m", "zeroflow", "up", "--home", home, "--port", "0", *options]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        try:
            assert process.stdout is not None
            if not process.stdout.readline().startswith("zeroflow is up"):
                raise RuntimeError("the host did not start")
            address = json.loads((Path(home) / "host.json").read_text())
            yield address["url"], address["pid"]
        finally:
            process.terminate()
            process.wait(timeout=60)
