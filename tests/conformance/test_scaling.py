"""The autoscaler as its users see it: how many instances there are. The host's stable window is 6 s here.

After knative.dev/serving test/conformance and test/e2e autoscale tests.
"""

import threading
import time
from concurrent import futures

import pytest

pytestmark = pytest.mark.scale

SCALE = "autoscaling.knative.dev/"


def instances(cluster, name):
    pods = cluster.host.get(f"/api/v1/namespaces/default/pods?labelSelector=serving.knative.dev/service={name}")
    return [pod for pod in pods["items"] if pod["status"].get("phase") == "Running"]


class Load:
    """Requests that keep coming, so many at a time, until the block is left."""

    def __init__(self, cluster, name, at_a_time, path="/sleep?s=0.3"):
        self.statuses = []
        self._over = threading.Event()
        self._lanes = [threading.Thread(target=self._ask, args=(cluster, name, path)) for _ in range(at_a_time)]

    def _ask(self, cluster, name, path):
        while not self._over.is_set():
            self.statuses.append(cluster.ask(name, path).status)

    def __enter__(self):
        for lane in self._lanes:
            lane.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        for lane in self._lanes:
            lane.join()
        assert set(self.statuses) == {200}


def test_to_zero_after_the_window_and_back(cluster, removed, wait_until):
    cluster.service(removed("sleepy"), "runtime", annotations={f"{SCALE}window": "6s"})
    assert cluster.ask("sleepy").status == 200
    asleep = time.monotonic()
    wait_until(lambda: not instances(cluster, "sleepy"), "no instance")
    assert 4 < time.monotonic() - asleep < 12
    active = cluster.condition("sleepy-00001", "Active", "revisions")
    assert (active["status"], active["reason"]) == ("False", "NoTraffic")
    assert cluster.condition("sleepy")["status"] == "True"
    assert cluster.ask("sleepy").status == 200
    assert cluster.condition("sleepy-00001", "Active", "revisions")["status"] == "True"


def test_a_hundred_first_requests_at_once(cluster, removed, wait_until):
    cluster.service(removed("rush"), "runtime")
    wait_until(lambda: not instances(cluster, "rush"), "no instance")
    with futures.ThreadPoolExecutor(100) as pool:
        answers = list(pool.map(lambda _: cluster.ask("rush").status, range(100)))
    assert answers == [200] * 100


def test_min_initial_and_max_scale(cluster, removed, wait_until):
    annotations = {f"{SCALE}min-scale": "1", f"{SCALE}initial-scale": "2", f"{SCALE}max-scale": "3"}
    spec = {"containerConcurrency": 1}
    cluster.service(removed("bounded"), "runtime", annotations=annotations, spec=spec)
    wait_until(lambda: len(instances(cluster, "bounded")) == 2, "the initial scale")
    with Load(cluster, "bounded", 8):
        wait_until(lambda: len(instances(cluster, "bounded")) == 3, "the maximum")
        time.sleep(2.5)  # one more decision of the autoscaler
        assert len(instances(cluster, "bounded")) == 3
    wait_until(lambda: len(instances(cluster, "bounded")) == 1, "the minimum")
    time.sleep(2.5)
    assert len(instances(cluster, "bounded")) == 1


def test_activation_scale(cluster, removed, wait_until):
    cluster.service(removed("eager"), "runtime", annotations={f"{SCALE}activation-scale": "3"})
    wait_until(lambda: not instances(cluster, "eager"), "no instance")
    assert cluster.ask("eager").status == 200
    wait_until(lambda: len(instances(cluster, "eager")) == 3, "the activation scale")


def test_more_requests_than_the_target_bring_more_instances(cluster, removed, wait_until):
    annotations = {f"{SCALE}target": "2", f"{SCALE}target-utilization-percentage": "100"}
    cluster.service(removed("grows"), "runtime", annotations=annotations)
    with Load(cluster, "grows", 8):
        wait_until(lambda: len(instances(cluster, "grows")) >= 3, "more instances")
    wait_until(lambda: not instances(cluster, "grows"), "none without requests")


def test_scale_down_delay_keeps_what_there_was(cluster, removed, wait_until):
    annotations = {f"{SCALE}target": "1", f"{SCALE}scale-down-delay": "8s", f"{SCALE}window": "6s"}
    cluster.service(removed("slow-down"), "runtime", annotations=annotations)
    with Load(cluster, "slow-down", 3):
        wait_until(lambda: len(instances(cluster, "slow-down")) >= 3, "three instances")
    most = len(instances(cluster, "slow-down"))
    with Load(cluster, "slow-down", 1, "/sleep?s=0.1"):
        time.sleep(4)
        assert len(instances(cluster, "slow-down")) == most
