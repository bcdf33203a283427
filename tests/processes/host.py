"""A host of its own to be killed: starts one process of each kind, prints their pids, waits for ever."""

import asyncio
import json
import sys
from pathlib import Path

from zeroflow.knative.local.processes.launcher import Launcher, listening_socket
from zeroflow.knative.local.processes.process import ProcessSpec
from zeroflow.knative.local.processes.runtimes import Runtime


async def main(folder: Path) -> None:
    launcher = Launcher(runtimes={"test": Runtime(("gunicorn.app.wsgiapp",))})
    env = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(folder)}
    command = ("sh", "-c", f"sleep 301 & echo $! > {folder}/grandchild; wait")
    plain = await launcher.start(ProcessSpec("plain", command, env, folder / "plain.log"))
    alone, several = ("gunicorn", "tiny:application"), ("gunicorn", "--workers=2", "tiny:application")
    served, pair = [
        await launcher.start(
            ProcessSpec("served", argv, env, folder / "served.log", runtime="test", listener=listening_socket())
        )
        for argv in (alone, several)
    ]
    await asyncio.gather(served.serving(), pair.serving())
    while not (folder / "grandchild").exists() or not (folder / "grandchild").read_text().strip():
        await asyncio.sleep(0.01)
    pids = {
        "plain": plain.pid,
        "grandchild": int((folder / "grandchild").read_text()),
        "served": served.pid,
        "arbiter": pair.pid,
    }
    pids |= {f"parent {name}": pid for name, pid in launcher.parents().items()}
    children = Path(f"/proc/{pair.pid}/task/{pair.pid}/children").read_text().split()
    pids |= {f"worker {number}": int(pid) for number, pid in enumerate(children)}
    print(json.dumps(pids), flush=True)
    await asyncio.Event().wait()


asyncio.run(main(Path(sys.argv[1])))
