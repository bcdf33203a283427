"""A host that runs only Jobs."""

import asyncio
import time
from contextlib import asynccontextmanager

import pytest

from zeroflow.knative.local.api.store import Store
from zeroflow.knative.local.home import Home
from zeroflow.knative.local.jobs.cronjobs import CronJobs
from zeroflow.knative.local.jobs.job import Backoff
from zeroflow.knative.local.jobs.jobs import Jobs
from zeroflow.knative.local.processes.launcher import Launcher
from zeroflow.knative.local.storage.claims import Claims


class Workplace:
    def __init__(self, store, launcher, jobs, home):
        self.store, self.launcher, self.jobs, self.home = store, launcher, jobs, home

    async def create(self, *command, name="work", pod=None, container=None, **spec):
        image = {"name": "main", "image": "any"} | ({"command": list(command)} if command else {}) | (container or {})
        template = {"spec": {"restartPolicy": "Never", "containers": [image]} | (pod or {})}
        job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name, "namespace": "default"}}
        return await self.store.create(job | {"spec": {"template": template} | spec})

    def status(self, name="work"):
        job = self.store.find("Job.batch", "default", name)
        return None if job is None else job.get("status", {})

    def outcome(self, name="work"):
        found = [c for c in (self.status(name) or {}).get("conditions", ()) if c["type"] in ("Complete", "Failed")]
        return (found[0]["type"], found[0]["reason"]) if found else None

    def log(self, pod=None):
        pod = pod or self.store.list("Pod", "default")[0]
        return self.home.pod_log("default", pod["metadata"]["name"], "main").read_text()

    async def until(self, true, timeout_s=20.0):
        deadline = time.monotonic() + timeout_s
        while not true():
            assert time.monotonic() < deadline, f"not reached in {timeout_s} s: {self.status()}"
            await asyncio.sleep(0.01)

    async def finished(self, name="work"):
        await self.until(lambda: self.outcome(name) is not None)
        return self.outcome(name)


@asynccontextmanager
async def workplace(root, clock=None):
    home = Home(root)
    home.prepare()
    store = Store(home.db / "resources.sqlite")
    launcher = Launcher()
    jobs = Jobs(store, launcher, home, backoff=Backoff(first_s=0.05, most_s=0.2))
    claims = Claims(store, home)
    await claims.start()
    await jobs.start()
    cronjobs = CronJobs(store, clock)
    await cronjobs.start()
    try:
        yield Workplace(store, launcher, jobs, home)
    finally:
        await cronjobs.close()
        await jobs.close(1.0)
        await claims.close()
        await launcher.close()
        await store.close()


@pytest.fixture
def run(tmp_path):
    """Run `scenario(workplace)`; a second call in one test finds the same home again, as a restarted host would."""

    def runner(scenario, clock=None):
        async def main():
            async with workplace(tmp_path / "home", clock) as place:
                return await asyncio.wait_for(scenario(place), 60)

        return asyncio.run(main())

    return runner
