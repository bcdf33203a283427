"""An HTTP server with nothing in it but the resource API: `serve.py HOME` prints its URL and serves until SIGTERM."""

import asyncio
import signal
import sys
from pathlib import Path

from aiohttp import web

from zeroflow.knative.local.api.crds import bundled
from zeroflow.knative.local.api.kubeconfig import write_kubeconfig
from zeroflow.knative.local.api.rest.api import ResourceApi
from zeroflow.knative.local.api.store import Store


class Home:
    """The two things that the API asks of the host's home."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def pod_log(self, namespace: str, pod: str, container: str) -> Path:
        return self.root / "logs" / namespace / pod / f"{container}.log"


async def control(store: Store, request: web.Request) -> web.Response:
    """Do what a controller in the host would: create and update objects past the HTTP rules."""
    obj = await request.json()
    verb = request.match_info["verb"]
    if verb == "create":
        return web.json_response(await store.create(obj))
    if verb == "status":
        return web.json_response(await store.update_status(obj))
    raise web.HTTPNotFound


async def main(root: Path) -> None:
    home = Home(root)
    store = Store(root / "db" / "resources.sqlite")
    for definition in bundled():
        await store.apply(definition)
    api = ResourceApi(store, home)
    app = web.Application()
    app.router.add_post("/control/{verb}", lambda request: control(store, request))
    app.router.add_route("*", "/{path:.*}", api.handle)
    runner = web.AppRunner(app, shutdown_timeout=5, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    write_kubeconfig(home, {"zeroflow": f"http://127.0.0.1:{port}"}, "secret-token")
    print(f"http://127.0.0.1:{port}", flush=True)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    await api.close()
    await runner.cleanup()
    await store.close()


asyncio.run(main(Path(sys.argv[1])))
