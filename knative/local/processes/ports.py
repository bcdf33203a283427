"""At which TCP ports a container's processes listen. Source: proc_pid_net(5), proc_pid_fd(5)."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

_LISTEN = "0A"
_SOCKET = "socket:["


def listening(session: int) -> set[int]:
    """Return the ports at which the processes of a session listen, where no process outside of it does as well."""
    found: dict[int, set[str]] = {}
    for table in ("tcp", "tcp6"):
        with suppress(OSError):
            for line in Path("/proc/net", table).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == _LISTEN:
                    found.setdefault(int(fields[1].rsplit(":", 1)[1], 16), set()).add(fields[9])
    own = _sockets(session)
    return {port for port, sockets in found.items() if sockets <= own}


def _sockets(session: int) -> set[str]:
    """Return the inodes of the sockets that a session's processes hold."""
    inodes: set[str] = set()
    for entry in os.scandir("/proc"):
        if not entry.name.isdecimal():
            continue
        with suppress(OSError, ValueError):
            if os.getsid(int(entry.name)) != session:
                continue
            for link in os.scandir(f"/proc/{entry.name}/fd"):
                with suppress(OSError):
                    target = os.readlink(link.path)
                    if target.startswith(_SOCKET):
                        inodes.add(target[len(_SOCKET) : -1])
    return inodes
