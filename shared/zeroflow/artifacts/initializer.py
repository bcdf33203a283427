"""`python -m zeroflow.artifacts.initializer URI DIRECTORY`: put a model's bytes where a server looks for them.

Runs as an init container beside servers that are not ours, as KServe's storage initializer does. A file keeps its
name. When it fails, its last line says why and the exit code is 1.
"""

import logging
import os
import shutil
import sys
import tempfile
from pathlib import Path

from zeroflow.artifacts.stores import Stores
from zeroflow.errors import ZeroflowError

logger = logging.getLogger(__name__)


def fetch_into(uri: str, directory: Path, stores: Stores) -> None:
    """Fetch a location into a directory, which may exist."""
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory, prefix=".fetch-") as private:
        fetched = Path(private) / (uri.partition("?")[0].rstrip("/").rpartition("/")[2] or "model")
        stores.fetch(uri, fetched)
        for path in [fetched] if fetched.is_file() else list(fetched.iterdir()):
            shutil.move(path, directory / path.name)


def main(arguments: list[str]) -> int:
    """Run the command; return its exit code."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if len(arguments) != 2:
        logger.error("usage: python -m zeroflow.artifacts.initializer URI DIRECTORY")
        return 2
    uri, directory = arguments
    try:
        fetch_into(uri, Path(directory), Stores(Path(os.environ.get("ZEROFLOW_STORE") or "/nonexistent")))
    except ZeroflowError as error:
        logger.error("the model at %s cannot be fetched: %s: %s", uri, error.reason, error)
        return 1
    logger.info("fetched %s to %s", uri, directory)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
