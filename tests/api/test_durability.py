"""kill -9 at any moment: what was answered is there afterwards, whole."""

import signal
import stat
import threading
import urllib.request
from typing import Any

MAPS = "/api/v1/namespaces/default/configmaps"


def test_everything_that_was_answered_survives_a_kill(own_server: Any) -> None:
    answered: list[str] = []
    enough = threading.Event()

    def write(worker: int) -> None:
        for number in range(10_000):
            name = f"w{worker}-{number}"
            try:
                code, _ = own_server.call("POST", MAPS, {"metadata": {"name": name}, "data": {"n": name}})
            except OSError:
                return  # killed
            assert code == 201
            answered.append(name)
            if len(answered) >= 200:
                enough.set()

    workers = [threading.Thread(target=write, args=(worker,)) for worker in range(4)]
    for worker in workers:
        worker.start()
    assert enough.wait(30)
    own_server.end(signal.SIGKILL)
    for worker in workers:
        worker.join()
    own_server.start()
    found = {item["metadata"]["name"]: item["data"]["n"] for item in own_server.call("GET", MAPS)[1]["items"]}
    assert set(answered) <= set(found)
    assert all(name == value for name, value in found.items())
    versions = [int(item["metadata"]["resourceVersion"]) for item in own_server.call("GET", MAPS)[1]["items"]]
    assert len(set(versions)) == len(versions)
    later = own_server.call("POST", MAPS, {"metadata": {"name": "later"}})[1]
    assert int(later["metadata"]["resourceVersion"]) > max(versions)


def test_a_stop_ends_open_watches_and_is_clean(own_server: Any) -> None:
    with urllib.request.urlopen(f"{own_server.url}{MAPS}?watch=true", timeout=20) as watch:
        own_server.call("POST", MAPS, {"metadata": {"name": "seen"}})
        assert b"seen" in watch.readline()
        assert own_server.end() == 0


def test_only_the_owner_can_read_the_secrets_on_disk(own_server: Any) -> None:
    own_server.call("POST", "/api/v1/namespaces/default/secrets", {"metadata": {"name": "s"}, "stringData": {"k": "v"}})
    files = [*(own_server.home / "db").iterdir(), own_server.kubeconfig]
    assert len(files) >= 2
    for path in files:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
