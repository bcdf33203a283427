"""The logs of processes are bounded while they run and after their host has gone."""

import os

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
