"""A small host for tests: store, launcher, serving and a front that sends every request to the activator."""

import asyncio
import time
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import yaml
from aiohttp import web

from zeroflow.knative.local.api.store import Store
from zeroflow.knative.local.door import Door
from zeroflow.knative.local.home import Home
from zeroflow.knative.local.host import bind
from zeroflow.knative.local.processes.launcher import Launcher
from zeroflow.knative.local.processes.runtimes import Runtime
from zeroflow.knative.local.serving.caller_plain import PlainCaller
from zeroflow.knative.local.serving.failures import Pace
from zeroflow.knative.local.serving.serving import Serving
from zeroflow.knative.local.urls import Urls

HERE = Path(__file__).parent
CRDS = HERE.parents[1] / "knative" / "manifests" / "crds" / "serving.yaml"
PRELOADED = ("gunicorn.app.wsgiapp", "gunicorn.arbiter", "gunicorn.workers.gthread", "gunicorn.glogging")
PACE = Pace(tick_s=0.1, backoff_s=0.1, backoff_max_s=1.0, progress_deadline_s=20.0)


class World:
    def __init__(self, store, launcher, serving, port, session):
        self.store, self.launcher, self.serving, self.port, self.session = store, launcher, serving, port, session
        self.url = f"http://127.0.0.1:{port}"

    async def apply(
        self,
        name="hello",
        *,
        wait=True,
        namespace="default",
        traffic=None,
        revision=None,
        annotations=None,
        env=None,
        command=None,
        runtime="test",
        spec=None,
        container=None,
        threads=8,
    ):
        template_annotations = dict(annotations or {})
        if runtime:
            template_annotations["zeroflow.dev/runtime"] = runtime
        variables = {"PYTHONPATH": str(HERE / "apps")} | (env or {})
        image = {"image": "hello", "env": [{"name": key, "value": value} for key, value in variables.items()]}
        image["command"] = ["gunicorn"] if command is None else command
        if command is None:
            image["args"] = [f"--threads={threads}", "hello:application"]
        template = {
            "metadata": {"annotations": template_annotations},
            "spec": {"containers": [image | (container or {})]},
        }
        template["spec"] |= spec or {}
        if revision:
            template["metadata"]["name"] = revision
        service = {
            "apiVersion": "serving.knative.dev/v1",
            "kind": "Service",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"template": template} | ({"traffic": traffic} if traffic else {}),
        }
        await self.store.apply(service)
        if wait:
            await self.ready(name, namespace)

    async def ready(self, name="hello", namespace="default"):
        await self.until(lambda: self.condition("Service", name, "Ready", namespace)["status"] == "True")

    def get(self, kind, name, namespace="default"):
        return self.store.get(f"{kind}.serving.knative.dev", namespace, name)

    def condition(self, kind, name, type_, namespace="default"):
        obj = self.store.find(f"{kind}.serving.knative.dev", namespace, name) or {}
        if obj.get("status", {}).get("observedGeneration") != obj.get("metadata", {}).get("generation"):
            return {"status": "Unknown"}
        found = [c for c in obj.get("status", {}).get("conditions") or () if c["type"] == type_]
        return found[0] if found else {"status": "Unknown"}

    def pods(self, namespace="default"):
        return self.store.list("Pod", namespace)

    async def until(self, true, timeout_s=60.0):
        deadline = time.monotonic() + timeout_s
        while not true():
            assert time.monotonic() < deadline, f"not reached in {timeout_s} s"
            await asyncio.sleep(0.01)

    async def asleep(self):
        await self.until(lambda: self.serving.idle and not self.pods())

    async def call(self, path="/", name="hello", namespace="default", method="GET", **kwargs):
        async with self.session.request(method, f"{self.url}/{namespace}/{name}{path}", **kwargs) as response:
            text = await response.text()
            is_json = response.headers.get("Content-Type", "").startswith("application/json")
            return response.status, await response.json() if is_json else text, response.headers


@asynccontextmanager
async def world(root, *, window_s=60.0, retention_s=60.0, pace=PACE, runtimes=None, retention=None):
    home = Home(root)
    home.prepare()
    store = Store(home.db / "resources.sqlite")
    for definition in yaml.load_all(CRDS.read_text(), yaml.CSafeLoader):
        await store.apply(definition)
    launcher = Launcher(runtimes=runtimes or {"test": Runtime(PRELOADED)}, retention_s=retention_s)
    app = web.Application()
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True)

    class Front:
        """The whole host is one Service after another: the first two parts of a path name it."""

        async def handle(self, request):
            namespace, name, path = parts(request.rel_url.raw_path)
            return await serving.activator.serve(request, namespace, name, path)

        def find(self, head):
            namespace, name, target = parts(head.target)
            return lambda client, head, body: serving.activator.begin(
                PlainCaller(client, head, body), namespace, name, target
            )

    def parts(path):
        _, namespace, name, *rest = path.split("/", 3)
        return namespace, name, "/" + "".join(rest)

    front = Front()
    app.router.add_route("*", "/{tail:.*}", front.handle)
    await runner.setup()
    listener = bind("127.0.0.1", 0)
    port = listener.getsockname()[1]
    door = Door(front, runner, [listener])
    await door.open()
    serving = Serving(store, launcher, Urls(port), home, window_s=window_s, pace=pace, retention=retention)
    await serving.start()
    connector = aiohttp.TCPConnector(limit=0)
    session = aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=60))
    try:
        yield World(store, launcher, serving, port, session)
    finally:
        await session.close()
        await serving.close(1.0)
        await door.close(1.0)
        await launcher.close()
        await runner.cleanup()
        await store.close()
