"""Small HTTP/1.1 requests, which the host reads itself: what is on the wire, byte by byte, and who answers it."""

import asyncio
import json
import os
import signal
from contextlib import asynccontextmanager, suppress

import pytest

from zeroflow.knative.local.serving import routes
from zeroflow.knative.local.serving.observing import OBSERVE
from zeroflow.knative.local.serving.passage import DirectPassage

GET = b"GET /default/hello/ HTTP/1.1\r\nHost: localhost\r\n\r\n"


class Wire:
    """A client's connection."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer

    def send(self, data):
        self.writer.write(data)

    async def answer(self, *, head_only=False):
        """Read one answer: status, headers, body."""
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.removesuffix("\r\n\r\n").split("\r\n")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        length = 0 if head_only else int(headers.get("content-length", 0))
        return int(first.split()[1]), headers, await self.reader.readexactly(length)

    async def ended(self):
        """Say whether the host has closed the connection, with nothing more said."""
        return await self.reader.read() == b""


@pytest.fixture
def direct(monkeypatch):
    """The requests that were carried without a task, in the order in which they began."""
    seen = []
    start = DirectPassage.start

    def counted(self, target):
        seen.append(target)
        start(self, target)

    monkeypatch.setattr(DirectPassage, "start", counted)
    return seen


@asynccontextmanager
async def warm(world):
    """Apply the function, leave a kept connection to its instance, and connect a client."""
    await world.apply(threads=8, spec={"timeoutSeconds": 2})
    reader, writer = await asyncio.open_connection("127.0.0.1", world.port)
    try:
        wire = Wire(reader, writer)
        wire.send(GET)
        assert (await wire.answer())[0] == 200
        yield wire
    finally:
        writer.transport.abort()
        with suppress(ConnectionError):
            await writer.wait_closed()


def in_flight(world):
    return sum(pod.in_flight for pool in world.serving.pools().values() for pod in pool.pods)


def test_requests_that_are_sent_ahead_are_answered_in_their_order(run, direct):
    async def scenario(world):
        async with warm(world) as wire:
            post = b"POST /default/hello/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%b"
            wire.send(GET + b"".join(post % (number, b"x" * number) for number in range(1, 20)))
            sizes = [len(json.loads((await wire.answer())[2])["body"]) for _ in range(20)]
            assert sizes == list(range(20))
            assert len(direct) == 20

    run(scenario)


def test_a_request_may_come_in_pieces(run, direct):
    async def scenario(world):
        async with warm(world) as wire:
            request = b"POST /default/hello/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nabcde"
            for begin in range(0, len(request), 7):
                wire.send(request[begin : begin + 7])
                await wire.writer.drain()
                await asyncio.sleep(0)
            assert json.loads((await wire.answer())[2])["body"] == "abcde"

    run(scenario)


def test_a_head_is_answered_without_its_body_and_a_close_is_kept(run, direct):
    async def scenario(world):
        async with warm(world) as wire:
            wire.send(GET.replace(b"GET", b"HEAD"))
            status, headers, _ = await wire.answer(head_only=True)
            assert (status, int(headers["content-length"]) > 0) == (200, True)
            wire.send(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
            status, headers, _ = await wire.answer()
            assert (status, headers["connection"]) == (200, "close")
            assert await wire.ended()
            assert len(direct) == 2

    run(scenario)


def test_an_answer_in_parts_is_passed_on_as_it_comes(run, direct):
    async def scenario(world):
        async with warm(world) as wire:
            wire.send(GET.replace(b"hello/", b"hello/stream?5"))
            head = await wire.reader.readuntil(b"\r\n\r\n")
            assert b"Transfer-Encoding: chunked" in head
            assert b"data: 4" in await wire.reader.readuntil(b"\r\n0\r\n\r\n")
            wire.send(GET)
            assert (await wire.answer())[0] == 200
            assert len(direct) == 2

    run(scenario)


def test_time_is_up_for_a_request_that_has_no_task(run, direct):
    async def scenario(world):
        async with warm(world) as wire:
            wire.send(GET.replace(b"hello/", b"hello/slow?30"))
            status, _, body = await wire.answer()
            assert (status, body) == (504, b"activator request timeout")
            assert len(direct) == 1
            assert in_flight(world) == 0
            wire.send(GET)
            assert (await wire.answer())[0] == 200

    run(scenario)


def test_an_answer_is_cut_off_when_its_time_is_up_in_the_middle_of_it(run, direct):
    async def scenario(world):
        async with warm(world) as wire:
            wire.send(GET.replace(b"hello/", b"hello/stall"))
            await wire.reader.readuntil(b"\r\n\r\n")
            with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
                await wire.reader.readexactly(1 << 20)
            assert len(direct) == 1
            assert in_flight(world) == 0

    run(scenario)


def test_who_leaves_gives_up_the_place_in_the_function(run, direct):
    async def scenario(world):
        async with warm(world) as wire:
            wire.send(GET.replace(b"hello/", b"hello/slow?30"))
            await world.until(lambda: in_flight(world) == 1)
            wire.writer.transport.abort()
            await world.until(lambda: in_flight(world) == 0)
            assert len(direct) == 1

    run(scenario)


@pytest.mark.parametrize(("method", "expected"), [("GET", 200), ("POST", 502)])
def test_an_instance_that_breaks_off_is_asked_again_only_when_that_does_no_harm(run, direct, method, expected):
    async def scenario(world):
        async with warm(world) as wire:
            wire.send(GET)
            first = json.loads((await wire.answer())[2])["pid"]
            wire.send(f"{method} /default/hello/slow?1 HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            await world.until(lambda: in_flight(world) == 1)
            os.killpg(first, signal.SIGKILL)
            status, _, body = await wire.answer()
            assert status == expected
            assert expected != 200 or json.loads(body)["pid"] != first
            assert direct == ["/", "/slow?1"]

    run(scenario)


@asynccontextmanager
async def canary(world, monkeypatch, *draws, annotations=None):
    """Yield a connected client to two revisions with half of the traffic each; `draws` are what chance says next."""
    await world.apply(env={"VERSION": "stable"})
    assert (await world.call())[0] == 200  # a connection to it is kept
    halves = [{"revisionName": "hello-00001", "percent": 50}, {"latestRevision": True, "percent": 50}]
    await world.apply(env={"VERSION": "canary"}, traffic=halves, annotations=annotations)
    reader, writer = await asyncio.open_connection("127.0.0.1", world.port)
    chances = iter(draws)
    monkeypatch.setattr(routes.random, "random", lambda: next(chances))
    try:
        yield Wire(reader, writer)
    finally:
        writer.close()


@pytest.mark.parametrize("annotations", [None, {OBSERVE: "http://127.0.0.1:9"}], ids=["plain", "observed"])
def test_a_request_waits_for_the_revision_that_it_was_picked_for(run, monkeypatch, annotations):
    async def scenario(world):
        async with canary(world, monkeypatch, 0.9, 0.1, annotations=annotations) as wire:
            for expected in ("canary", "stable"):
                wire.send(GET)
                assert json.loads((await wire.answer())[2])["version"] == expected

    run(scenario)


def test_a_request_that_is_broken_off_stays_with_its_revision(run, monkeypatch):
    async def scenario(world):
        async with canary(world, monkeypatch, 0.9, 0.9, 0.1) as wire:
            wire.send(GET)
            first = json.loads((await wire.answer())[2])
            wire.send(GET.replace(b"hello/", b"hello/slow?0.5"))
            await world.until(
                lambda: any(pool.pods and pool.pods[0].in_flight for pool in world.serving.pools().values())
            )
            os.killpg(first["pid"], signal.SIGKILL)
            again = json.loads((await wire.answer())[2])
            assert (again["version"], again["pid"] != first["pid"]) == ("canary", True)

    run(scenario)


POST = b"POST /default/hello/ HTTP/1.1\r\nHost: localhost\r\n"
NOT_PLAIN = {
    "HTTP/1.0": (GET.replace(b"1.1", b"1.0"), 200),
    "chunked": (POST + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", 200),
    "large": (POST + b"Content-Length: 100000\r\n\r\n" + b"x" * 100_000, 200),
    "expecting": (POST + b"Expect: 100-continue\r\nContent-Length: 1\r\n\r\nx", 100),
    "both lengths": (POST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\nabc", 400),
    "two lengths": (POST + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", 400),
    "a space in a name": (GET.replace(b"Host:", b"Host :"), 400),
    "nonsense": (b"NONSENSE\r\n\r\n", 400),
}


def test_what_is_not_plain_is_answered_all_the_same(run, direct):
    async def scenario(world):
        answered = {}
        for name, (request, _) in NOT_PLAIN.items():
            async with warm(world) as wire:
                direct.clear()
                wire.send(request)
                answered[name] = (await wire.answer())[0]
                assert not direct, name
        assert answered == {name: status for name, (_, status) in NOT_PLAIN.items()}

    run(scenario)


def test_a_connection_that_is_idle_for_long_is_closed(run, monkeypatch):
    monkeypatch.setattr("zeroflow.knative.local.http1.connection.KEEP_ALIVE_S", 0.2)

    async def scenario(world):
        async with warm(world) as wire:
            assert await asyncio.wait_for(wire.ended(), 10)

    run(scenario)


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET /default/hello/?filterQuery=" + b"x" * 70_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 414),
        (b"GET /default/hello/ HTTP/1.1\r\nHost: localhost\r\nCookie: " + b"x" * 70_000 + b"\r\n\r\n", 431),
    ],
    ids=["line", "fields"],
)
def test_a_head_that_is_too_long_is_refused_in_json_also_while_more_of_it_comes(run, head, status):
    async def scenario(world):
        async with warm(world) as wire:
            for start in range(0, len(head), 30_000):
                wire.send(head[start : start + 30_000])
                await wire.writer.drain()
            answered, headers, body = await wire.answer()
            assert (answered, headers["content-type"]) == (status, "application/json")
            assert set(json.loads(body)) == {"code", "message"}
            assert "65536 bytes" in json.loads(body)["message"]
            wire.send(b"x" * 100_000)
            await wire.writer.drain()
            assert await asyncio.wait_for(wire.ended(), 10)

    run(scenario)


def test_a_long_line_reaches_the_function(run, direct):
    async def scenario(world):
        async with warm(world) as wire:
            target = b"/default/hello/?filterQuery=" + b"x" * 60_000
            wire.send(b"GET " + target + b" HTTP/1.1\r\nHost: localhost\r\n\r\n")
            status, headers, _ = await wire.answer()
            assert (status, headers["content-type"]) == (414, "text/html"), (
                "gunicorn's words: it was not told to take it"
            )
            assert len(direct[-1]) > 60_000

    run(scenario)
