"""What `katib.report_metrics` finds in a trial on this machine as it would in a pod.

The client reads its namespace from a file of the pod's service account, and calls `katib-db-manager.kubeflow:6789`. A
process has neither the file nor the name. A `sitecustomize` module answers for the file; gRPC goes through a proxy
(`grpc_proxy`, HTTP CONNECT) on a port of its own, which leads that one name to the host and every other where it says.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

NAME = "katib-db-manager.kubeflow"
SITE = Path(__file__).parent / "site"
HEAD_LIMIT = 64 * 1024
CONNECT_TIMEOUT_S = 10.0


def listen() -> socket.socket:
    """Open the proxy's port."""
    return socket.create_server(("127.0.0.1", 0))


def serve(listener: socket.socket, address: str) -> None:
    """Answer on the port in a thread; `address` is host:port of the DB manager."""
    host, _, port = address.rpartition(":")
    threading.Thread(target=_accept, args=(listener, (host, int(port))), daemon=True).start()


def environment(config: Mapping[str, Any], env: Mapping[str, str], listener: socket.socket) -> dict[str, str]:
    """Return what the trial's environment needs."""
    return {
        "grpc_proxy": f"http://127.0.0.1:{listener.getsockname()[1]}",
        "ZEROFLOW_TRIAL_NAMESPACE": str(config["namespace"]),
        "PYTHONPATH": os.pathsep.join(filter(None, (str(SITE), env.get("PYTHONPATH")))),
    }


def _accept(listener: socket.socket, manager: tuple[str, int]) -> None:
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=_serve, args=(connection, manager), daemon=True).start()


def _serve(client: socket.socket, manager: tuple[str, int]) -> None:
    """Answer one CONNECT and carry bytes both ways until both sides have ended."""
    with client, suppress(OSError, ValueError):
        head = b""
        while b"\r\n\r\n" not in head and len(head) < HEAD_LIMIT and (chunk := client.recv(4096)):
            head += chunk
        method, target, _ = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ")
        if method != "CONNECT":
            client.sendall(b"HTTP/1.1 405 Method Not Allowed\r\n\r\n")
            return
        host, _, port = target.rpartition(":")
        try:
            server = socket.create_connection(manager if host == NAME else (host, int(port)), CONNECT_TIMEOUT_S)
        except OSError:
            client.sendall(b"HTTP/1.1 502 Bad Gateway\r\n\r\n")
            return
        with server:
            server.settimeout(None)
            client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            back = threading.Thread(target=_carry, args=(server, client), daemon=True)
            back.start()
            _carry(client, server)
            back.join()


def _carry(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while chunk := source.recv(65536):
            target.sendall(chunk)
        target.shutdown(socket.SHUT_WR)
