"""Deep idle is one small process that does nothing; the next request is answered all the same."""

import os
import time
from pathlib import Path

import kfp

from lifecycle import pipelines

MAX_RESIDENT_MB = 80


def resident_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    raise AssertionError("no VmRSS")


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_after_work_one_small_quiet_process_remains_and_wakes_for_the_next_request(start_host, wait_until):
    host = start_host("--stable-window", "1", "--runtime-retention", "1")
    client = kfp.Client(host=host.url)
    run = client.create_run_from_pipeline_func(pipelines.say_it, arguments={"word": "a"})
    assert client.wait_for_run_completion(run.run_id, timeout=60, sleep_duration=0.2).state == "SUCCEEDED"
    wait_until(lambda: not host.running_pods(), "every function to sleep", deadline_s=90)
    wait_until(lambda: not host.processes(), "the preloaded parents to end", deadline_s=90)
    assert host.process is not None
    assert resident_mb(host.process.pid) <= MAX_RESIDENT_MB
    before = cpu_s(host.process.pid)
    time.sleep(3)  # what is measured is the time itself, not a state to wait for
    assert cpu_s(host.process.pid) - before <= 0.03
    assert host.request("GET", "/apis/v2beta1/healthz").status == 200
    run = client.create_run_from_pipeline_func(pipelines.say_it, arguments={"word": "b"})
    assert client.wait_for_run_completion(run.run_id, timeout=60, sleep_duration=0.2).state == "SUCCEEDED"
