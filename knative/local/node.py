"""This machine as a Node, and its API as the Service `kubernetes`, so that clients find both where a cluster has them.

Capacity is what processes may use (CPU affinity and control groups are heeded) and the NVIDIA devices. The object is
made at each start and lives in memory. Source: Kubernetes core/v1 Node.
"""

from __future__ import annotations

import os
import platform
import re
import socket
from pathlib import Path
from typing import Any

from zeroflow.knative.local.api.objects import now
from zeroflow.knative.local.api.store import Store

Object = dict[str, Any]

NAME = "localhost"
MAX_PODS = 1000
GPU = "nvidia.com/gpu"
_DEVICE = re.compile(r"nvidia\d+")


async def register(store: Store, version: str, port: int) -> None:
    """Put the Node and the Service into the store."""
    await store.create(_service(port))
    names = {"kubernetes.io/hostname": NAME, "kubernetes.io/os": "linux", "kubernetes.io/arch": _architecture()}
    node: Object = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": NAME, "labels": names}, "spec": {}}
    created = await store.create(node)
    await store.update_status({**created, "status": status(version)})


def _service(port: int) -> Object:
    marks = {"component": "apiserver", "provider": "kubernetes"}
    ports = [{"name": "http", "port": port, "protocol": "TCP", "targetPort": port}]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "kubernetes", "namespace": "default", "labels": marks},
        "spec": {"type": "ClusterIP", "clusterIP": "127.0.0.1", "clusterIPs": ["127.0.0.1"], "ports": ports},
    }


def status(version: str) -> Object:
    """Return the status of this machine."""
    capacity = {"cpu": str(_cpus()), "memory": f"{_memory_kib()}Ki", "pods": str(MAX_PODS)}
    if gpus := _gpus():
        capacity[GPU] = str(gpus)
    at = now()
    return {
        "capacity": capacity,
        "allocatable": dict(capacity),
        "addresses": [
            {"type": "InternalIP", "address": "127.0.0.1"},
            {"type": "Hostname", "address": socket.gethostname()},
        ],
        "conditions": [
            {
                "type": "Ready",
                "status": "True",
                "reason": "HostReady",
                "message": "this host is ready",
                "lastHeartbeatTime": at,
                "lastTransitionTime": at,
            }
        ],
        "nodeInfo": {
            "architecture": _architecture(),
            "bootID": "",
            "containerRuntimeVersion": "processes://",
            "kernelVersion": platform.release(),
            "kubeProxyVersion": "",
            "kubeletVersion": version,
            "machineID": "",
            "operatingSystem": "linux",
            "osImage": _system(),
            "systemUUID": "",
        },
    }


def _architecture() -> str:
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())


def _cpus() -> int:
    return len(os.sched_getaffinity(0))


def _memory_kib() -> int:
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        bound = int(Path("/sys/fs/cgroup/memory.max").read_text())
    except (OSError, ValueError):  # no control group, or "max"
        bound = whole
    return min(whole, bound) // 1024


def _gpus() -> int:
    return sum(1 for name in os.listdir("/dev") if _DEVICE.fullmatch(name))


def _system() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")
    except OSError:
        return "Linux"
