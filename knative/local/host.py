"""The embedded host: puts the rooms together and runs them in one process.

Start order: take the home, bind the port, open the stores and declare the manifests while a process of its own brings
the metadata schema up to date, start the controllers, open the door. Stop order is the reverse: the door closes,
requests in flight end, processes get SIGTERM. Whatever ends the process instead - kill -9, power - loses nothing that
was accepted.
"""

import asyncio
import contextlib
import ctypes
import errno
import functools
import gc
import json
import logging
import os
import resource
import signal
import socket
import sqlite3
import ssl
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from aiohttp import web

from zeroflow.errors import Conflict, Unavailable, ZeroflowError
from zeroflow.images import Images
from zeroflow.knative.local import inference, manifests, node, tls, tuning
from zeroflow.knative.local.api.happenings import Recorder
from zeroflow.knative.local.api.kubeconfig import NAME, write_kubeconfig
from zeroflow.knative.local.api.rest.api import ResourceApi
from zeroflow.knative.local.api.store import Store
from zeroflow.knative.local.door import Door
from zeroflow.knative.local.eventing.container_source import ContainerSources
from zeroflow.knative.local.eventing.destinations import Resolver
from zeroflow.knative.local.eventing.eventing import Eventing
from zeroflow.knative.local.front import PLATFORM_NAMESPACE, WELCOME, Front, Guard
from zeroflow.knative.local.home import Home
from zeroflow.knative.local.http1.head import MOST_HEAD_BYTES
from zeroflow.knative.local.identity import admission as identity_admission
from zeroflow.knative.local.identity import defaults as identity_defaults
from zeroflow.knative.local.identity.authentication import Authenticator
from zeroflow.knative.local.identity.authorization import GROUP as RBAC_GROUP
from zeroflow.knative.local.identity.tokens import KEY_FILE, Tokens
from zeroflow.knative.local.identity.users import Users
from zeroflow.knative.local.jobs.cronjobs import CronJobs
from zeroflow.knative.local.jobs.jobs import Jobs
from zeroflow.knative.local.processes.inside import InsidePods
from zeroflow.knative.local.processes.launcher import Launcher
from zeroflow.knative.local.processes.logs import prune_earlier
from zeroflow.knative.local.processes.pods import PodContext
from zeroflow.knative.local.processes.usage import ProcessUsage
from zeroflow.knative.local.processes.volume_updates import VolumeUpdates
from zeroflow.knative.local.serving.serving import Serving
from zeroflow.knative.local.storage.claims import Claims
from zeroflow.knative.local.urls import Urls, local_names_resolve

logger = logging.getLogger(__name__)

LOOPBACK = ("127.0.0.1", "::1", "localhost")
SHUTDOWN_GRACE_S = 30.0
SETTLED_S = 0.5
"""After the start: the first requests do not wait for the collection of what the start has left, which takes 0.1 s."""
MIGRATIONS = Path(__file__).parents[2] / "metadata" / "migrations" / "versions"


@dataclass(frozen=True)
class HostOptions:
    """What `zeroflow up` was asked for."""

    home: Path
    port: int = 8080
    listen: str = "127.0.0.1"
    database_url: str | None = None
    """The metadata database; None is SQLite in the home."""
    stable_window_s: float = 50.0
    """How long a Service without its own setting stays up without requests; less than Knative's 60 s, so that a
    minute after the last request every process has ended."""
    runtime_retention_s: float = 600.0
    """How long a preloaded parent process is kept after its last child ended."""
    allowed_hosts: Collection[str] = field(default_factory=tuple)
    tls_certificate: Path | None = None
    """PEM with the certificate and its chain, beyond loopback; None makes one."""
    tls_key: Path | None = None
    """PEM with its key; None where it is in the same file."""

    @property
    def exposed(self) -> bool:
        """Whether others than this machine reach the host."""
        return self.listen not in LOOPBACK


async def run(options: HostOptions, started: "asyncio.Future[Urls] | None" = None) -> None:
    """Run a host until SIGTERM or SIGINT; `started` gets its URLs once it answers.

    Raises a ZeroflowError, whose message is one line, when the host cannot start.
    """
    home = Home(options.home)
    home.prepare()
    _allow_many_files()
    lock = home.lock()
    try:
        home.check_databases()
        listeners = bind_all(options.listen, options.port)
        database_url = options.database_url or f"sqlite:///{home.db / 'metadata.sqlite'}"
        migration = asyncio.create_task(upgrade_metadata(database_url))
        urls = Urls(listeners[0].getsockname()[1], names_resolve=local_names_resolve())
        try:
            await _serve(options, home, urls, listeners, database_url, migration, started)
        finally:
            migration.cancel()
    finally:
        home.address.unlink(missing_ok=True)
        lock.release()


async def _serve(
    options: HostOptions,
    home: Home,
    urls: Urls,
    listeners: Sequence[socket.socket],
    database_url: str,
    migration: "asyncio.Task[None]",
    started: "asyncio.Future[Urls] | None",
) -> None:
    prune_earlier(home.logs, home.run / "pods")
    store = Store(home.db / "resources.sqlite")
    launcher = Launcher(retention_s=options.runtime_retention_s)
    serving = Serving(store, launcher, urls, home, window_s=options.stable_window_s)
    claims = Claims(store, home)
    jobs = Jobs(store, launcher, home)
    cronjobs = CronJobs(store)
    tuning.register(store)
    inference.register(store)
    eventing = Eventing(store, serving.activator, urls, home, home.platform_token())
    context = PodContext(store, store.find, launcher, home, Recorder(store, "zeroflow"), Images(home.root))
    volumes = VolumeUpdates(store, context)
    containers = ContainerSources(store, context, Resolver(store, urls, allow_loopback=False))
    tokens = Tokens(home.secrets / KEY_FILE)
    authenticator = Authenticator(home.platform_token(), Users(home.users), tokens, store)
    identity_admission.register(store)
    resources = ResourceApi(
        store,
        home,
        InsidePods(store, launcher, home),
        authenticator=authenticator,
        usage=ProcessUsage(launcher, home),
    )
    outside = _outside(options, home)
    front = Front(
        store=store,
        resources=resources.handle,
        services=serving.activator,
        eventing=eventing,
        guard=Guard(
            [*options.allowed_hosts, *(outside.names if outside else ())],
            home.platform_token(),
            token_required=outside is not None,
            authenticator=authenticator,
        ),
        welcome=WELCOME.format(base=urls.base, kubeconfig=home.kubeconfig),
    )
    stop = _stop_on_signals()
    await node.register(store, resources.version, urls.port)
    await _declare_roles(store)
    for documents in (manifests.configuration(home, urls, database_url), *manifests.folders()):
        await asyncio.gather(*(store.apply(each, manager="zeroflow-manifests") for each in documents))  # one commit
    if outside is None:
        write_kubeconfig(home, {NAME: urls.base})
    else:
        servers = {name: f"https://{host_and_port(name, urls.port)}" for name in outside.names}
        local = {NAME: urls.base.replace("http:", "https:", 1)}
        write_kubeconfig(home, local | servers, home.platform_token(), outside.authority)
    try:
        await migration  # functions find their tables
    except ZeroflowError:
        await store.close()
        raise
    await volumes.start()
    await serving.start()
    await claims.start()
    await jobs.start()
    await cronjobs.start()
    await eventing.start()
    serving.activator.observer.start(functools.partial(eventing.publish, PLATFORM_NAMESPACE, "default"))
    await containers.start()
    runner = await _runner(front)
    door = Door(front, runner, listeners, outside.encryption if outside else None)
    await door.open()
    home.address.write_text(json.dumps({"url": urls.base, "pid": os.getpid()}))
    await eventing.publish(PLATFORM_NAMESPACE, "default", _started_event())
    logger.info("serving on %s, home %s", urls.base, home.root)
    if started is not None:
        started.set_result(urls)
    asyncio.get_running_loop().call_later(SETTLED_S, _collect_garbage_seldom)
    try:
        await stop.wait()
    finally:
        logger.info("stopping")
        await serving.stop()
        await resources.close()  # ends watches, which would hold the door open
        await serving.activator.observer.close()
        await containers.close()
        await eventing.close()
        await cronjobs.close()
        await jobs.close()
        await claims.close()
        await asyncio.gather(serving.close(SHUTDOWN_GRACE_S), door.close(SHUTDOWN_GRACE_S))
        await runner.cleanup()
        await launcher.close()
        await volumes.close()
        await store.close()


async def _declare_roles(store: Store) -> None:
    """Declare the roles that every cluster has, and add to them what a later version gives them."""
    writes = []
    for document in identity_defaults.documents():
        role = store.find(f"{document['kind']}.{RBAC_GROUP}", None, document["metadata"]["name"])
        if role is None:
            writes.append(store.create(document))
        elif completed := identity_defaults.completed(role, document):
            writes.append(store.update(completed))
    await asyncio.gather(*writes)


async def _runner(front: Front) -> web.AppRunner:
    app = web.Application(client_max_size=1 << 40)  # parts that read a body into memory have bounds of their own
    app.router.add_route("*", "/{path:.*}", front.handle)
    runner = web.AppRunner(
        app,
        access_log=None,
        handle_signals=False,
        keepalive_timeout=75,
        auto_decompress=False,
        max_line_size=MOST_HEAD_BYTES,
        max_field_size=MOST_HEAD_BYTES,
        handler_cancellation=True,  # who leaves while waiting for an instance gives up its place
    )
    await runner.setup()
    return runner


@dataclass(frozen=True)
class Outside:
    """What a host needs that listens beyond loopback."""

    names: Sequence[str]
    """Its addresses and names there."""
    encryption: ssl.SSLContext
    authority: bytes | None
    """The certificate that clients must trust; None where it is one that they know."""


def _outside(options: HostOptions, home: Home) -> Outside | None:
    if not options.exposed:
        return None
    names = tls.names_of_this_machine(options.listen)
    if options.tls_certificate is not None:
        key = options.tls_key or options.tls_certificate
        return Outside(names, tls.context_of(options.tls_certificate, key), None)
    encryption, authority = tls.server_context(home.secrets, [*names, *options.allowed_hosts])
    return Outside(names, encryption, authority)


def host_and_port(name: str, port: int) -> str:
    """Return the part of a URL that names a server."""
    return f"[{name}]:{port}" if ":" in name else f"{name}:{port}"


def bind_all(address: str, port: int) -> list[socket.socket]:
    """Take the port at an address, and at loopback too, where the host's own functions look for it."""
    if address in LOOPBACK or tls.is_everywhere(address):
        return [bind(address, port)]
    own = bind(LOOPBACK[0], port)
    try:
        return [own, bind(address, own.getsockname()[1])]
    except Conflict:
        own.close()
        raise


def bind(address: str, port: int) -> socket.socket:
    """Take the port; raise Conflict in one line when it is taken."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((address, port))
        listener.listen(1024)
    except OSError as error:
        listener.close()
        remedy = "choose another port with --port N (0: any free one)"
        if error.errno not in (errno.EADDRINUSE, errno.EACCES):
            remedy = "choose an address of this machine with --listen ADDRESS"
        raise Conflict(f"cannot listen on {address}:{port}: {error.strerror}; {remedy}") from error
    listener.setblocking(False)
    return listener


async def upgrade_metadata(url: str) -> None:
    """Bring the metadata schema up to date, unless a look at a SQLite file says that it is.

    The work is done by another process: this one never loads SQLAlchemy, which would cost it 40 MB.
    """
    if url.startswith("sqlite:///") and _schema_of(Path(url.removeprefix("sqlite:///"))) == _newest_schema():
        return
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "zeroflow.metadata.migrate", url, stderr=asyncio.subprocess.PIPE
    )
    _, errors = await process.communicate()
    if process.returncode:
        raise Unavailable(errors.decode(errors="replace").strip().splitlines()[-1])


def _schema_of(path: Path) -> str | None:
    if not path.exists():
        return None
    try:
        with sqlite3.connect(path) as connection:
            row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
            return str(row[0]) if row else None
    except sqlite3.DatabaseError:
        return None
    finally:
        connection.close()


def _newest_schema() -> str:
    return max(path.name for path in MIGRATIONS.glob("[0-9]*.py")).split("_")[0]


def _collect_garbage_seldom() -> None:
    """Look for cycles less often, and never in what is there now: with 10,000 objects a full look takes 0.2 s.

    What reading the manifests has taken and left goes back to the machine.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
    with contextlib.suppress(AttributeError):  # glibc has it
        ctypes.CDLL(None).malloc_trim(0)


def _allow_many_files() -> None:
    """Raise the soft limit of open files to the hard one: each connection is one, on both sides of the proxy."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _started_event() -> dict[str, object]:
    now = datetime.now(UTC)
    return {
        "specversion": "1.0",
        "id": f"{os.getpid()}-{now.timestamp():.6f}",
        "source": "/zeroflow/host",
        "type": "dev.zeroflow.host.started",
        "time": now.isoformat().replace("+00:00", "Z"),
        "datacontenttype": "application/json",
        "data": {},
    }


def _stop_on_signals() -> asyncio.Event:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    return stop
