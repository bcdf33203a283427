"""A watch of the official client over restarts of the host."""

import threading

import kubernetes
import pytest
import urllib3


@pytest.mark.parametrize("how", ["stopped", "killed"])
def test_a_watch_that_goes_on_from_its_version_misses_nothing(start_host, wait_until, how):
    host = start_host()
    api = kubernetes.client.CoreV1Api(kubernetes.config.new_client_from_config(str(host.home / "kubeconfig")))

    def create(name):
        body = kubernetes.client.V1ConfigMap(metadata=kubernetes.client.V1ObjectMeta(name=name))
        api.create_namespaced_config_map("default", body)

    seen, faults, done = [], [], threading.Event()
    begin = api.list_namespaced_config_map("default").metadata.resource_version

    def follow():
        watch = kubernetes.watch.Watch()
        watch.resource_version = begin
        while not done.is_set():
            try:
                for event in watch.stream(
                    api.list_namespaced_config_map, "default", resource_version=watch.resource_version
                ):
                    seen.append((event["type"], event["object"].metadata.name))
                    if event["object"].metadata.name == "last":
                        return
            except (urllib3.exceptions.HTTPError, kubernetes.client.ApiException) as error:
                if getattr(error, "status", 503) != 503:  # of a host that is stopping, as a real server's
                    faults.append(error)
                    return
                done.wait(0.05)

    follower = threading.Thread(target=follow)
    follower.start()
    try:
        create("one")
        wait_until(lambda: ("ADDED", "one") in seen, "the watch to see the first object")
        create("two")
        if how == "stopped":
            host.stop()
        else:
            host.kill()
        host.start()
        create("three")
        api.delete_namespaced_config_map("one", "default")
        create("last")
        follower.join(60)
    finally:
        done.set()
        follower.join(10)
    assert not faults
    expected = [("ADDED", "one"), ("ADDED", "two"), ("ADDED", "three"), ("DELETED", "one"), ("ADDED", "last")]
    assert [each for each in seen if each[1] != "kube-root-ca.crt"] == expected
