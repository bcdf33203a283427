"""A real Kubernetes-style API for tests: `server.py HOME [--serving]` prints its URL and serves until SIGTERM.

HOME/kubeconfig leads to it. With `--serving`, Services run as processes and answer below /serving/<namespace>/<name>.
"""

import asyncio
import signal
import socket
import sys
from pathlib import Path

from aiohttp import web

from zeroflow.knative.local.api.crds import bundled
from zeroflow.knative.local.api.kubeconfig import write_kubeconfig
from zeroflow.knative.local.api.rest.api import ResourceApi
from zeroflow.knative.local.api.store import Store
from zeroflow.knative.local.home import Home
from zeroflow.knative.local.processes.launcher import Launcher
from zeroflow.knative.local.processes.pods import PodContext
from zeroflow.knative.local.processes.volume_updates import VolumeUpdates
from zeroflow.knative.local.serving.serving import Serving
from zeroflow.knative.local.urls import Urls


async def main(root: Path, with_serving: bool) -> None:
    home = Home(root)
    home.prepare()
    store = Store(home.db / "resources.sqlite")
    for definition in bundled():
        await store.apply(definition)
    api, app = ResourceApi(store, home), web.Application(client_max_size=1 << 30)
    runner = web.AppRunner(app, shutdown_timeout=5, access_log=None)
    launcher = Launcher()
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    serving = Serving(store, launcher, Urls(port), home)

    async def proxy(request: web.Request) -> web.StreamResponse:
        info = request.match_info
        return await serving.activator.serve(request, info["namespace"], info["name"], info["path"])

    app.router.add_route("*", "/serving/{namespace}/{name}{path:.*}", proxy)
    app.router.add_route("*", "/{path:.*}", api.handle)
    await runner.setup()
    await web.SockSite(runner, listener).start()
    write_kubeconfig(home, {"zeroflow": f"http://127.0.0.1:{port}"}, "secret-token")
    updates = VolumeUpdates(store, PodContext(store, store.find, launcher, home))
    if with_serving:
        await updates.start()
        await serving.start()
    print(f"http://127.0.0.1:{port}", flush=True)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    await api.close()
    if with_serving:
        await serving.close(5)
        await updates.close()
    await runner.cleanup()
    await launcher.close()
    await store.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), "--serving" in sys.argv))
