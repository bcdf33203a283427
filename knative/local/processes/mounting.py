"""Volumes where the container expects them: a process sees its volumes at their mount paths, nobody else does.

The process gets a mount namespace (as an unprivileged user: in a user namespace of its own) with a root that is this
machine's, directory by directory, plus the volumes. A mount path that does not exist on this machine comes into being
for this process alone: its nearest existing parent is replaced by a view of the same entries in memory. Where the
kernel refuses namespaces, a mount path that is the whole of an environment value or of a word of the command line, or
the beginning of the path in it, is replaced by the directory itself (`relocated`).

With a read-only root the process can change nothing of the machine but its volumes that are not read-only, /dev and
/proc, as in a container; from Linux 5.12 on, and where it may make namespaces.

Runs in freshly forked children, so it needs nothing but the standard library. Source: mount_namespaces(7),
user_namespaces(7), pivot_root(2), mount_setattr(2).
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache

CLONE_NEWNS, CLONE_NEWUSER = 0x20000, 0x10000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_NOATIME, MS_NODIRATIME, MS_RELATIME = 1, 2, 4, 8, 1024, 2048, 1 << 21
MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 32, 4096, 16384, 1 << 18
MNT_DETACH = 2
STAGE = "/tmp"  # noqa: S108 - a place to mount at that exists everywhere; nothing is written to it
# What statvfs says of a mount -> what a remount must repeat, since an unprivileged user may not take it away.
KEPT = ((2, MS_NOSUID), (4, MS_NODEV), (8, MS_NOEXEC), (1024, MS_NOATIME), (2048, MS_NODIRATIME), (4096, MS_RELATIME))
SYS_MOUNT_SETATTR, MOUNT_ATTR_RDONLY = 442, 1  # the same number for every processor
AT_FDCWD, AT_RECURSIVE = -100, 0x8000
STAYS_WRITABLE = frozenset({"dev", "proc"})
SYS_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}


@dataclass(frozen=True)
class Mount:
    """A directory or file of this machine, and the absolute path at which the container sees it."""

    path: str
    source: str
    read_only: bool = False


def relocated(text: str, mounts: Iterable[Mount]) -> str:
    """Replace a mount path at the beginning of the path `text`; the longest that fits."""
    for mount in sorted(mounts, key=lambda mount: len(mount.path), reverse=True):
        if text == mount.path or text.startswith(f"{mount.path}/"):
            return f"{mount.source}{text[len(mount.path) :]}"
    return text


@cache
def possible() -> bool:
    """Return whether this process may make namespaces and mounts; tried in a child, so only without threads."""
    pid = os.fork()
    if pid == 0:
        try:
            enter(())
        except OSError:
            os._exit(1)
        os._exit(0)
    return os.waitpid(pid, 0)[1] == 0


def enter(mounts: Sequence[Mount], *, read_only_root: bool = False) -> None:
    """Give this process a root of its own with `mounts` in it; raise OSError, which leaves it in no useful state."""
    directory = os.getcwd()
    placed = [Mount(os.path.realpath(m.path), os.path.realpath(m.source), m.read_only) for m in mounts]
    _own_namespace()
    _mount("none", "/", "", MS_REC | MS_PRIVATE)
    _mount("tmpfs", STAGE, "tmpfs", MS_NOSUID | MS_NODEV)
    os.mkdir(f"{STAGE}/old")
    os.mkdir(f"{STAGE}/new")
    _pivot(STAGE, f"{STAGE}/old")
    os.chdir("/")
    _mount("tmpfs", "/new", "tmpfs", MS_NOSUID | MS_NODEV, "mode=755")
    _mirror("/old", "/new")
    view = _View({"/"})
    for mount in sorted(placed, key=lambda mount: mount.path.count("/")):
        view.place(mount)
    if read_only_root:
        _seal([mount.path for mount in placed if not mount.read_only])
    os.chdir("/new")
    _pivot(".", ".")
    _check(_libc().umount2(b".", MNT_DETACH), "the old root")
    os.chdir(directory)


class _View:
    """The new root while it is made, at /new; the machine's is at /old."""

    def __init__(self, made: set[str]) -> None:
        self._made = made  # directories that lie in memory
        self._volumes: list[str] = []

    def place(self, mount: Mount) -> None:
        """Show `mount.source` at `mount.path`."""
        target, source = f"/new{mount.path}", f"/old{mount.source}"
        self._make(mount.path, os.path.isdir(source))
        _mount(source, target, "", MS_BIND | MS_REC)
        if mount.read_only:
            _mount("none", target, "", MS_REMOUNT | MS_BIND | MS_RDONLY | _flags(target))
        self._volumes.append(mount.path)

    def _make(self, path: str, directory: bool) -> None:
        """Make what `path` names, unless it exists, without a trace on this machine."""
        if os.path.exists(f"/new{path}"):
            return
        parent = os.path.dirname(path)
        self._make(parent, True)
        inside = any(parent == volume or parent.startswith(f"{volume}/") for volume in self._volumes)
        if parent not in self._made and not inside:
            _mount("tmpfs", f"/new{parent}", "tmpfs", MS_NOSUID | MS_NODEV, "mode=755")
            _mirror(f"/old{parent}", f"/new{parent}")
            self._made.add(parent)
        if directory:
            os.mkdir(f"/new{path}")
            if not inside:
                self._made.add(path)
        else:
            os.close(os.open(f"/new{path}", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))


def _mirror(old: str, new: str) -> None:
    """Show every entry of one directory in another, which is empty."""
    with os.scandir(old) as entries:
        for entry in entries:
            target = f"{new}/{entry.name}"
            if entry.is_symlink():
                os.symlink(os.readlink(entry.path), target)
                continue
            if entry.is_dir():
                os.mkdir(target)
            else:
                os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))
            _mount(entry.path, target, "", MS_BIND | MS_REC)


def _seal(writable: Iterable[str]) -> None:
    """Make the new root read-only, except /dev, /proc and these volumes."""
    for name in os.listdir("/new"):
        if name not in STAYS_WRITABLE and not os.path.islink(f"/new/{name}"):
            _set_read_only(f"/new/{name}", recursive=True)
    _set_read_only("/new")
    for path in writable:
        _set_read_only(f"/new{path}", recursive=True, to=False)


def _set_read_only(path: str, *, recursive: bool = False, to: bool = True) -> None:
    attributes = struct.pack("=QQQQ", *((MOUNT_ATTR_RDONLY, 0) if to else (0, MOUNT_ATTR_RDONLY)), 0, 0)
    flags = AT_RECURSIVE if recursive else 0
    number = ctypes.c_long(SYS_MOUNT_SETATTR)
    if _libc().syscall(number, AT_FDCWD, path.encode(), flags, attributes, ctypes.c_size_t(len(attributes))) == 0:
        return
    # EINVAL: a directory of the root itself, no mount of its own. ENOSYS: a kernel that is older.
    if ctypes.get_errno() not in (errno.EINVAL, errno.ENOSYS):
        _check(-1, path)


def _own_namespace() -> None:
    user, group = os.geteuid(), os.getegid()
    if _libc().unshare(CLONE_NEWNS) == 0:
        return
    _check(_libc().unshare(CLONE_NEWNS | CLONE_NEWUSER), "namespaces")
    for name, text in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)


def _flags(path: str) -> int:
    found = os.statvfs(path).f_flag
    return sum(flag for shown, flag in KEPT if found & shown)


def _mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    words = [word.encode() if word else None for word in (source, target, kind)]
    _check(_libc().mount(*words, ctypes.c_ulong(flags), data.encode() if data else None), target)


def _pivot(new: str, old: str) -> None:
    number = SYS_PIVOT_ROOT.get(os.uname().machine)
    if number is None:
        raise OSError(f"pivot_root has no number for {os.uname().machine}")
    _check(_libc().syscall(ctypes.c_long(number), new.encode(), old.encode()), new)


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)
