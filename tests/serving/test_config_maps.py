"""Knative's ConfigMaps: what they change, at once, and what is refused when they are written."""

import os
from pathlib import Path

import pytest
import yaml

from zeroflow.knative.local.api.errors import BadRequest
from zeroflow.knative.local.serving.configuration.maps import ConfigMaps
from zeroflow.knative.local.serving.scaling import ScaleDefaults, settings_of

KNATIVE_OWN = {"tracing-protocol", "metrics-protocol", "request-metrics-protocol"}
"""Keys whose example is not the default."""


class Written:
    """A store that holds one ConfigMap."""

    def __init__(self):
        self.maps = {}

    def admit(self, kind, hook):
        self.hook = hook

    def find(self, kind, namespace, name):
        return self.maps.get(name)

    def write(self, name, data, namespace="knative-serving"):
        new = {"kind": "ConfigMap", "metadata": {"name": name, "namespace": namespace}, "data": data}
        self.maps[name] = self.hook(new, self.maps.get(name))


@pytest.fixture
def store():
    return Written()


@pytest.fixture
def maps(store):
    return ConfigMaps(store, ScaleDefaults(window_s=50.0), 600.0)


def examples():
    """The example values of Knative's own ConfigMaps, which are its defaults, by ConfigMap."""
    if "ZEROFLOW_CONTRACTS" not in os.environ:
        pytest.skip("ZEROFLOW_CONTRACTS does not name the contracts' folder")
    for path in (Path(os.environ["ZEROFLOW_CONTRACTS"]) / "knative/serving/config").glob("*.yaml"):
        found = yaml.safe_load(path.read_text())
        yield found["metadata"]["name"], yaml.safe_load(found["data"]["_example"])


def test_what_knative_gives_as_its_defaults_is_taken_and_changes_nothing(store, maps):
    before = maps.revisions(), maps.retention(), maps.progress_deadline_s(), maps.rollout_s()
    scaling = maps.scaling()
    for name, data in examples():
        if name != "config-domain":  # its example has names of other domains
            given = {key: value for key, value in data.items() if key not in KNATIVE_OWN}
            store.write(name, given | {"_example": "x"})
    given = {key: value for key, value in dict(examples())["config-defaults"].items() if "cpu" in key}
    assert maps.revisions().requests["cpu"] == given["revision-cpu-request"]
    store.write("config-defaults", {})
    assert (maps.revisions(), maps.retention(), maps.progress_deadline_s(), maps.rollout_s()) == before
    assert maps.scaling() == ScaleDefaults(window_s=60.0)
    assert scaling.window_s == 50.0


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("config-autoscaler", {"max-scale-up-rate": "fast"}, 'failed to parse "max-scale-up-rate"'),
        ("config-autoscaler", {"stable-window": "5s"}, "stable-window = 5s, must be in [6s; 1h0m0s] range"),
        ("config-autoscaler", {"initial-scale": "0"}, "initial-scale = 0, must be at least 0 (or at least 1"),
        ("config-autoscaler", {"max-scale-limit": "3"}, "max-scale = 0, must be in [1, max-scale-limit(3)] range"),
        ("config-autoscaler", {"container-concurrency-target-percentage": "120"}, "outside of valid range"),
        ("config-defaults", {"revision-timeout-seconds": "900"}, "cannot be greater than max-revision-timeout-seconds"),
        ("config-defaults", {"container-concurrency": "2000"}, "expected 0 <= 2000 <= 1000: container-concurrency"),
        ("config-defaults", {"revision-cpu-request": "much"}, 'failed to parse "revision-cpu-request"'),
        ("config-defaults", {"container-name-template": "{{.UID}}"}, "{{.Name}}"),
        ("config-gc", {"min-non-active-revisions": "9", "max-non-active-revisions": "1"}, "must be <= max-non-active"),
        ("config-deployment", {"progress-deadline": "0s"}, "cannot be a non-positive duration"),
        ("config-network", {"rollout-duration": "-1"}, "rollout-duration must be a positive integer"),
        ("config-network", {"external-domain-tls": "Enabled"}, "external-domain-tls = Enabled: this host has disabled"),
        ("config-network", {"tag-template": "{{.Name}}-{{.Tag}}"}, "this host has {{.Tag}}-{{.Name}}"),
        ("config-observability", {"tracing-protocol": "grpc"}, "tracing-protocol = grpc: this host has none"),
        ("config-domain", {"example.com": ""}, "example.com: this host's domain is localhost"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else None,
)
def test_what_cannot_be_is_refused_when_it_is_written(store, maps, name, data, words):
    with pytest.raises(BadRequest) as refused:
        store.write(name, data)
    assert str(refused.value).startswith('admission webhook "config.webhook.serving.knative.dev" denied the request')
    assert words in str(refused.value)
    store.write(name, data, namespace="default")  # it means nothing there


def test_the_annotations_of_a_revision_go_before_the_defaults_and_keep_to_the_limits(store, maps):
    data = {"max-scale": "2", "max-scale-limit": "3", "requests-per-second-target-default": "50"}
    store.write("config-autoscaler", data | {"enable-scale-to-zero": "false", "target-burst-capacity": "-1"})
    plain = settings_of({"autoscaling.knative.dev/metric": "rps"}, 0, maps.scaling())
    assert (plain.target, plain.max_scale, plain.min_scale, plain.burst_capacity) == (35.0, 2, 1, -1)
    assert settings_of({"autoscaling.knative.dev/max-scale": "3"}, 0, maps.scaling()).max_scale == 3
    for written in ("4", "0"):
        with pytest.raises(Exception, match=r"max-scale"):
            settings_of({"autoscaling.knative.dev/max-scale": written}, 0, maps.scaling())


def config(name, **data):
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": "knative-serving"},
        "data": {key.replace("_", "-"): value for key, value in data.items()},
    }


NAMESPACE = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "knative-serving"}}


def test_a_host_heeds_them_at_once(run):
    async def scenario(world):
        await world.store.apply(NAMESPACE)
        await world.apply()
        (pool,) = world.serving.pools().values()
        assert pool.settings.target == 70
        await world.store.apply(config("config-autoscaler", container_concurrency_target_default="10"))
        await world.until(lambda: pool.settings.target == 7)

        await world.store.apply(config("config-autoscaler", allow_zero_initial_scale="true", initial_scale="0"))
        defaults = {"revision_timeout_seconds": "20", "container_concurrency": "3", "revision_memory_limit": "1Gi"}
        await world.store.apply(config("config-defaults", **defaults, container_name_template="{{.Name}}-main"))
        await world.apply("later")
        spec = world.get("Service", "later")["spec"]["template"]["spec"]
        assert (spec["timeoutSeconds"], spec["containerConcurrency"]) == (20, 3)
        assert spec["containers"][0]["name"] == "later-main"
        assert spec["containers"][0]["resources"]["limits"] == {"memory": "1Gi"}
        assert not world.serving.pools()["default", "later-00001"].pods  # Ready without a first instance
        assert (await world.call(name="later"))[0] == 200

        await world.store.apply(config("config-gc", min_non_active_revisions="0", max_non_active_revisions="0"))
        await world.apply(env={"VERSION": "2"})
        await world.until(lambda: world.store.find("Revision.serving.knative.dev", "default", "hello-00001") is None)

    run(scenario)


def test_a_header_names_a_tag_when_the_feature_is_enabled(run):
    async def scenario(world):
        await world.store.apply(NAMESPACE)
        await world.apply(env={"VERSION": "1"}, revision="hello-one")
        traffic = [{"revisionName": "hello-two", "percent": 100}, {"revisionName": "hello-one", "tag": "old"}]
        await world.apply(env={"VERSION": "2"}, revision="hello-two", traffic=traffic)

        async def version(tag):
            return (await world.call(headers={"Knative-Serving-Tag": tag}))[1]["version"]

        assert await version("old") == "2"
        await world.store.apply(config("config-features", tag_header_based_routing="enabled"))
        await world.until(lambda: world.serving.activator.tags_by_header)
        assert (await version("old"), await version("unknown")) == ("1", "2")

    run(scenario)
