"""The embedded host as a program, told its options as JSON by ZEROFLOW_HOST_OPTIONS.

`zeroflow up` reads its command line and then becomes this program, because what reads command lines takes 15 MB that
the host, which stays, would keep.
"""

import asyncio
import json
import logging
import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from zeroflow.errors import ZeroflowError
from zeroflow.knative.local.host import HostOptions, run

EXTRAS = {"kfp": "step", "kubernetes": "inference", "sklearn": "predictor"}
"""What some functions need beyond the platform's own packages: a module, and the extra that brings it."""

_PATHS = ("home", "tls_certificate", "tls_key")


def lacking() -> list[str]:
    """Return the functions, which are extras too, whose packages are not installed."""
    return [extra for module, extra in EXTRAS.items() if find_spec(module) is None]


async def serve(options: HostOptions) -> None:
    """Run the host, and say where it is once it answers."""
    loop = asyncio.get_running_loop()
    started = loop.create_future()
    serving = loop.create_task(run(options, started))
    await asyncio.wait({serving, started}, return_when=asyncio.FIRST_COMPLETED)
    if started.done():
        urls = started.result()
        print(f"zeroflow is up: {urls.base}   home: {options.home}", flush=True)  # noqa: T201 - the command's answer
        _hint(f"kubectl --kubeconfig {options.home / 'kubeconfig'} get ksvc -A")
        if options.exposed:
            _hint(
                f"from other machines: https at port {urls.port}, with the certificate and token of that file "
                "(kubectl config get-contexts)"
            )
        _hint("zeroflow run pipeline.py      (in another terminal; Ctrl-C here stops the host)")
        if missing := lacking():
            _hint(
                f"the packages of some functions are missing; until they are there, {', '.join(missing)} cannot "
                f"work: pip install 'zeroflow[{','.join(missing)}]'"
            )
    await serving


def _hint(words: str) -> None:
    sys.stderr.write(f"  {words}\n")


def main() -> int:
    """Run until SIGTERM or SIGINT."""
    given: dict[str, Any] = json.loads(os.environ.pop("ZEROFLOW_HOST_OPTIONS"))
    logging.basicConfig(
        level=logging.INFO if given.pop("verbose") else logging.WARNING,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    paths = {name: Path(given[name]) for name in _PATHS if given[name]}
    options = HostOptions(**given | paths)
    try:
        asyncio.run(serve(options))
    except ZeroflowError as error:
        red, plain = ("\033[31m", "\033[0m") if sys.stderr.isatty() else ("", "")
        sys.stderr.write(f"{red}zeroflow: {error}{plain}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
