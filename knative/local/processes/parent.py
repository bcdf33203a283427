"""The program of a fork server: ``python -m zeroflow.knative.local.processes.parent FD RUNTIME``.

FD is a stream socket to the host and RUNTIME the JSON ``{"modules": [...], "later": [...], "alone": false,
"environment": {...}}``.
"""

from __future__ import annotations

import gc
import json
import os
import socket
import sys

from zeroflow.knative.local.processes.forkserver import ForkServer
from zeroflow.knative.local.processes.lone import LoneServer


def main() -> None:
    """Run the fork server that the command line describes."""
    runtime = json.loads(sys.argv[2])
    os.environ.update(runtime["environment"])
    gc.disable()
    host = socket.socket(fileno=int(sys.argv[1]))
    if runtime["alone"]:
        LoneServer(host, runtime["modules"], runtime["later"]).run()
    else:
        ForkServer(host, runtime["modules"], runtime["later"]).run()


if __name__ == "__main__":
    main()
