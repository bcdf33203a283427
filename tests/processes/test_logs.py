"""The logs of processes are bounded while they run and after their host has gone."""

import asyncio
import os
import struct

from zeroflow.knative.local.api.rest.log_times import RECORD, Stamps, WrittenTimes, beside
from zeroflow.knative.local.processes.log_times import LogTimes
from zeroflow.knative.local.processes.logs import prune_earlier, rotate


def test_a_log_past_its_size_is_moved_aside_and_its_writer_goes_on(tmp_path):
    log = tmp_path / "main.log"
    with open(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND), "wb", buffering=0) as writer:
        writer.write(b"a" * 100)
        assert not rotate(log, 100)
        writer.write(b"b")
        assert rotate(log, 100)
        writer.write(b"after")
    assert log.read_bytes() == b"after"
    assert (tmp_path / "main.log.1").read_bytes() == b"a" * 100 + b"b"
    assert not rotate(tmp_path / "missing.log", 1)


def test_what_an_earlier_host_has_left_is_pruned_by_number_size_and_age(tmp_path, monkeypatch):
    import zeroflow.knative.local.processes.logs as logs

    monkeypatch.setattr(logs, "EARLIER_PODS", 3)
    monkeypatch.setattr(logs, "EARLIER_BYTES", 100)
    (tmp_path / "scratch" / "pod").mkdir(parents=True)
    for name, size, age_s in [("new", 10, 1), ("big", 80, 2), ("more", 80, 3), ("old", 1, 10**7), ("empty", 0, 1)]:
        pod = tmp_path / "logs" / "default" / name
        pod.mkdir(parents=True)
        (pod / "main.log").write_bytes(b"x" * size)
        os.utime(pod / "main.log", (10**9 - age_s, 10**9 - age_s))
    assert prune_earlier(tmp_path / "logs", tmp_path / "scratch", 10.0**9) == 2
    assert sorted(pod.name for pod in (tmp_path / "logs" / "default").iterdir()) == ["big", "new"]
    assert not (tmp_path / "scratch").exists()


def test_lines_have_the_times_at_which_they_were_written_and_a_log_begins_at_any_of_them(tmp_path):
    log = tmp_path / "main.log"
    log.write_bytes(b"one\ntw\ro\nthree\nfour")
    beside(log).write_bytes(RECORD.pack(4, 10) + RECORD.pack(15, 20))
    os.utime(log, ns=(30, 30))
    times = WrittenTimes(log)
    assert [times.at(position) for position in (0, 3, 4, 14, 15)] == [10, 10, 20, 20, 30]
    assert [times.since(time_ns) for time_ns in (10, 11, 20, 21, 30, 31)] == [0, 4, 4, 15, 15, 19]
    stamps = Stamps(log)
    pieces = [stamps.stamped(b"one\ntw", 0), stamps.stamped(b"\ro\nthree\n", 6), stamps.stamped(b"four", 15)]
    zero = b"1970-01-01T00:00:00.0000000"
    assert b"".join(pieces) == zero + b"10Z one\n" + zero + b"20Z tw\ro\n" + zero + b"20Z three\n" + zero + b"30Z four"


def test_the_times_of_a_log_begin_anew_when_it_was_moved_aside(tmp_path):
    async def scenario():
        log, times = tmp_path / "main.log", LogTimes()
        times.watch(log)
        try:
            with log.open("ab", buffering=0) as writer:
                writer.write(b"before\n" * 10)
                await grown(log, 70)
                assert rotate(log, 10)
                writer.write(b"after\n")
                await grown(log, 6)
        finally:
            times.close()
        assert beside(log).stat().st_size == RECORD.size

    async def grown(log, size):
        async with asyncio.timeout(10):
            while not beside(log).exists() or struct.unpack("=Q", beside(log).read_bytes()[-16:-8])[0] != size:
                await asyncio.sleep(0.01)

    asyncio.run(scenario())
