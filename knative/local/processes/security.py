"""As whom a container runs: `runAsUser`, `runAsGroup` and `runAsNonRoot` of its securityContext, or of its Pod's.

Only root can make a process another user's. A host of anybody else refuses what it cannot do, instead of running the
program as somebody that the declaration excludes. Without `runAsUser` a container runs as the host does, also where
`runAsNonRoot` is declared: there is no image that could name a user. Source: Kubernetes core/v1 SecurityContext.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from zeroflow.knative.local.processes.container import BadContainer, Object
from zeroflow.knative.local.processes.users import User


def user_of(pod: Object, container: Object) -> User | None:
    """Return as whom a container of a Pod runs, None for as the host does; raise BadContainer when it cannot."""
    of_pod = (pod.get("spec") or {}).get("securityContext") or {}
    declared = of_pod | (container.get("securityContext") or {})
    uid, gid = declared.get("runAsUser"), declared.get("runAsGroup")
    if declared.get("runAsNonRoot") and uid == 0:
        raise BadContainer("container has runAsNonRoot and image will run as root")
    if uid is None and gid is None:
        return None
    me, mine = os.geteuid(), os.getegid()
    if me != 0:
        if uid in (None, me) and gid in (None, mine):
            return None
        wanted = " and ".join(
            f"{name} {value}" for name, value in (("runAsUser", uid), ("runAsGroup", gid)) if value is not None
        )
        raise BadContainer(
            f"{wanted}: this host runs as user {me} of group {mine}, and only root can start a process as another "
            "user; leave it out here, or run the host as root"
        )
    uid = me if uid is None else int(uid)
    more = [*(of_pod.get("supplementalGroups") or ()), *([of_pod["fsGroup"]] if "fsGroup" in of_pod else ())]
    return User(uid, _group_of(uid) if gid is None else int(gid), tuple(map(int, more)))


def give(user: User, paths: Iterable[Path]) -> None:
    """Make files and folders, with what is in them, a user's."""
    for path in paths:
        for each in (path, *path.rglob("*")) if path.exists() else ():
            os.chown(each, user.uid, user.gid, follow_symlinks=False)


def _group_of(uid: int) -> int:
    """Return the group of a user of this machine; for a number that is nobody's, the same number."""
    with suppress(KeyError):
        return pwd.getpwuid(uid).pw_gid
    return uid
