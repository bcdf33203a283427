"""A Service becomes revisions and routes, as Knative's conditions tell it."""

import asyncio

import pytest

from zeroflow.knative.local.api.errors import BadRequest


def test_a_service_becomes_ready_with_configuration_route_and_revision(run):
    async def scenario(world):
        await world.apply(env={"VERSION": "1"})
        status = world.get("Service", "hello")["status"]
        url = f"http://localhost:{world.port}/serving/default/hello"
        assert (status["url"], status["address"]) == (url, {"url": url})
        assert status["latestCreatedRevisionName"] == status["latestReadyRevisionName"] == "hello-00001"
        assert status["traffic"] == [{"latestRevision": True, "revisionName": "hello-00001", "percent": 100}]
        assert [c["type"] for c in status["conditions"]] == ["ConfigurationsReady", "Ready", "RoutesReady"]
        await world.until(lambda: world.condition("Revision", "hello-00001", "Active")["status"] == "True")
        revision = world.get("Revision", "hello-00001")
        assert revision["metadata"]["labels"]["serving.knative.dev/routingState"] == "active"
        assert revision["status"]["actualReplicas"] == 1
        assert world.condition("Route", "hello", "Ready")["status"] == "True"
        assert world.condition("Configuration", "hello", "Ready")["status"] == "True"
        pods = world.pods()
        assert [pod["status"]["phase"] for pod in pods] == ["Running"]
        assert pods[0]["metadata"]["labels"]["serving.knative.dev/revision"] == "hello-00001"

    run(scenario)


def test_the_function_sees_the_environment_and_headers_of_the_contract(run, monkeypatch):
    monkeypatch.setenv("ZEROFLOW_TEST_SECRET", "of the host")

    async def scenario(world):
        await world.apply(env={"VERSION": "1"})
        headers = {
            "X-Forwarded-For": "1.2.3.4",
            "X-Mine": "kept",
            "Knative-Serving-Revision": "x",
            "Connection": "X-Hop",
            "X-Hop": "1",
        }
        status, seen, answered = await world.call("/a%20b?c=d&c=e", method="POST", data=b"body", headers=headers)
        assert status == 200
        expected = {"revision": "hello-00001", "service": "hello", "configuration": "hello", "version": "1"}
        expected |= {"method": "POST", "path": "/a b", "query": "c=d&c=e", "body": "body", "secret_of_host": None}
        assert expected.items() <= seen.items()
        assert seen["port"].isdigit()
        passed = seen["headers"]
        assert passed["host"] == f"127.0.0.1:{world.port}"
        assert passed["x_forwarded_for"] == "1.2.3.4, 127.0.0.1"
        assert passed["forwarded"] == f'for=127.0.0.1;host="127.0.0.1:{world.port}";proto=http'
        assert passed["x_forwarded_proto"] == "http"
        assert len(passed["traceparent"]) == 55
        assert passed["x_mine"] == "kept"
        assert not {"knative_serving_revision", "x_hop", "connection"} & set(passed)
        assert answered.getall("Set-Cookie") == ["a=1", "b=2"]
        assert (await world.call("/missing"))[0] == 404
        assert (await world.call("/", name="nobody"))[0] == 404

    run(scenario)


def test_a_changed_template_makes_a_revision_and_moves_the_latest_traffic(run):
    async def scenario(world):
        await world.apply(env={"VERSION": "1"})
        await world.apply(env={"VERSION": "2"})
        assert (await world.call())[1]["version"] == "2"
        assert world.get("Service", "hello")["status"]["latestReadyRevisionName"] == "hello-00002"
        labels = [world.get("Revision", name)["metadata"]["labels"] for name in ("hello-00001", "hello-00002")]
        await world.until(
            lambda: (
                world.get("Revision", "hello-00001")["metadata"]["labels"]["serving.knative.dev/routingState"]
                == "reserve"
            )
        )
        assert [label["serving.knative.dev/configurationGeneration"] for label in labels] == ["1", "2"]

    run(scenario)


def test_traffic_alone_makes_no_revision_and_is_split_as_asked(run):
    async def scenario(world):
        await world.apply(env={"VERSION": "1"})
        traffic = [
            {"revisionName": "hello-00001", "percent": 80},
            {"latestRevision": True, "percent": 20, "tag": "canary"},
        ]
        await world.apply(env={"VERSION": "2"}, traffic=traffic)
        seen = await asyncio.gather(*(world.call() for _ in range(1000)))
        assert {status for status, _, _ in seen} == {200}
        canary = sum(body["version"] == "2" for _, body, _ in seen)
        assert 140 <= canary <= 260  # 20 % of 1000, 4.7 standard deviations
        assert (await world.call(name="canary-hello"))[1]["version"] == "2"
        wire = world.get("Service", "hello")["status"]["traffic"][1]
        assert wire["url"] == f"http://localhost:{world.port}/serving/default/canary-hello"
        assert (wire["revisionName"], wire["latestRevision"], wire["tag"]) == ("hello-00002", True, "canary")
        await world.apply(env={"VERSION": "2"}, traffic=[{"revisionName": "hello-00001", "percent": 100}])
        assert {body["version"] for _, body, _ in await asyncio.gather(*(world.call() for _ in range(50)))} == {"1"}
        assert len(world.store.list("Revision.serving.knative.dev", "default")) == 2
        assert (await world.call(name="canary-hello"))[0] == 404

    run(scenario)


def test_a_named_revision_and_a_taken_name(run):
    async def scenario(world):
        await world.apply(env={"VERSION": "1"}, revision="hello-blue")
        assert (await world.call())[1]["revision"] == "hello-blue"
        await world.apply(env={"VERSION": "2"}, revision="hello-blue", wait=False)
        await world.until(
            lambda: world.condition("Service", "hello", "RoutesReady").get("reason") == "RevisionNameTaken"
        )
        assert (await world.call())[1]["version"] == "1"

    run(scenario)


def test_traffic_to_a_revision_that_does_not_exist_keeps_the_old_routes(run):
    async def scenario(world):
        await world.apply()
        await world.apply(traffic=[{"revisionName": "hello-00007", "percent": 100}], wait=False)
        await world.until(lambda: world.condition("Service", "hello", "RoutesReady")["status"] == "False")
        condition = world.condition("Route", "hello", "AllTrafficAssigned")
        assert condition["reason"] == "RevisionMissing"
        assert condition["message"] == 'Revision "hello-00007" referenced in traffic not found.'
        assert (await world.call())[0] == 200

    run(scenario)


def test_a_revision_that_fails_tells_why_and_takes_no_traffic(run):
    async def scenario(world):
        await world.apply(env={"VERSION": "1"})
        await world.apply(container={"args": ["nothing_like_it:application"]}, wait=False)
        await world.until(lambda: world.condition("Service", "hello", "Ready")["status"] == "False")
        healthy = world.condition("Revision", "hello-00002", "ContainerHealthy")
        assert (healthy["status"], healthy["reason"]) == ("False", "ExitCode3")
        assert healthy["message"].startswith("Container failed with: ")
        assert "No module named 'nothing_like_it'" in healthy["message"]
        ready = world.condition("Service", "hello", "Ready")
        assert ready["reason"] == "RevisionFailed"
        assert ready["message"].startswith('Revision "hello-00002" failed with message: Container failed with: ')
        assert world.get("Service", "hello")["status"]["latestReadyRevisionName"] == "hello-00001"
        assert (await world.call())[1]["version"] == "1"

    run(scenario)


def test_an_image_without_a_command_says_what_to_do(run):
    async def scenario(world):
        await world.apply(command=[], wait=False)
        await world.until(lambda: world.condition("Service", "hello", "Ready")["status"] == "False")
        healthy = world.condition("Revision", "hello-00001", "ContainerHealthy")
        assert healthy["reason"] == "ContainerMissing"
        assert healthy["message"].startswith("Unable to fetch image 'hello': this host runs processes")
        status, body, headers = await world.call()
        assert status == 503
        assert "Unable to fetch image" in body
        assert headers["Retry-After"] == "1"

    run(scenario)


def test_a_missing_secret_is_named_and_the_revision_recovers_when_it_comes(run):
    async def scenario(world):
        source = [{"secretRef": {"name": "late"}}]
        await world.apply(container={"envFrom": source}, wait=False)
        await world.until(lambda: world.condition("Service", "hello", "Ready")["status"] == "False")
        available = world.condition("Revision", "hello-00001", "ResourcesAvailable")
        assert (available["reason"], available["message"]) == ("CreateContainerConfigError", 'secret "late" not found')
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "late", "namespace": "default"}}
        await world.store.create(secret | {"data": {"GREETING": "aGk="}})
        await world.ready()
        assert (await world.call())[1]["greeting"] == "hi"

    run(scenario)


def test_a_request_to_a_service_that_is_being_deployed_waits(run):
    async def scenario(world):
        await world.apply(wait=False)
        assert world.condition("Service", "hello", "Ready")["status"] == "Unknown"
        assert (await world.call())[0] == 200

    run(scenario)


def test_a_domain_mapping_leads_to_its_service(run):
    async def scenario(world):
        await world.apply()
        mapping = {"apiVersion": "serving.knative.dev/v1beta1", "kind": "DomainMapping"}
        mapping |= {"metadata": {"name": "flights.default.example.com", "namespace": "default"}}
        await world.store.apply(
            mapping | {"spec": {"ref": {"kind": "Service", "name": "hello", "apiVersion": "serving.knative.dev/v1"}}}
        )
        ready = lambda: world.condition("DomainMapping", "flights.default.example.com", "Ready")["status"] == "True"  # noqa: E731
        await world.until(ready)
        assert (await world.call(name="flights"))[1]["service"] == "hello"
        assert world.serving.activator.mapped("flights.default.example.com") == ("default", "hello")

    run(scenario)


def test_deleting_a_service_stops_it_and_removes_what_it_made(run):
    async def scenario(world):
        await world.apply()
        await world.store.delete("Service.serving.knative.dev", "default", "hello")
        await world.asleep()
        for kind in ("Configuration", "Revision", "Route"):
            await world.until(lambda kind=kind: not world.store.list(f"{kind}.serving.knative.dev", "default"))
        assert (await world.call())[0] == 404
        await world.apply(env={"VERSION": "again"})
        assert (await world.call())[1]["version"] == "again"

    run(scenario)


def test_after_a_restart_services_are_ready_and_nothing_runs_until_it_is_asked(run):
    async def before(world):
        await world.apply(env={"VERSION": "1"})
        await world.apply("kept", annotations={"autoscaling.knative.dev/min-scale": "1"})

    async def after(world):
        await world.until(lambda: len(world.pods()) == 1)
        assert world.pods()[0]["metadata"]["labels"]["serving.knative.dev/service"] == "kept"
        await world.ready()
        assert world.condition("Revision", "hello-00001", "Active")["reason"] == "NoTraffic"
        assert (await world.call())[1]["version"] == "1"

    run(before)
    run(after)


def _service(**changes):
    spec = {"template": {"spec": {"containers": [{"image": "i", "command": ["true"]}]}}}
    for path, value in changes.items():
        *parents, last = path.split("__")
        at = spec
        for parent in parents:
            at = at[int(parent)] if parent.isdigit() else at.setdefault(parent, {})
        at[last] = value
    meta = {"name": "hello", "namespace": "default"}
    return {"apiVersion": "serving.knative.dev/v1", "kind": "Service", "metadata": meta, "spec": spec}


CONTAINER = "template__spec__containers__0"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"traffic": [{"percent": 90}]}, "Traffic targets sum to 90, want 100: spec.traffic"),
        ({"traffic": [{"percent": 60, "tag": "a"}, {"percent": 40, "tag": "a"}]}, 'Multiple definitions for "a"'),
        ({"traffic": [{"percent": 100, "tag": "A_"}]}, "not a DNS 1035 label prefix: A_: spec.traffic[0].tag"),
        (
            {"traffic": [{"percent": 100, "revisionName": "hello-1", "latestRevision": True}]},
            'may not set revisionName "hello-1" when latestRevision is true',
        ),
        (
            {f"{CONTAINER}__env": [{"name": "K_SERVICE", "value": "x"}]},
            '"K_SERVICE" is a reserved environment variable: spec.template.spec.containers[0].env[0].name',
        ),
        ({"template__spec__timeoutSeconds": 601}, "expected 0 <= 601 <= 600: spec.template.spec.timeoutSeconds"),
        (
            {"template__spec__containerConcurrency": 1001},
            "expected 0 <= 1001 <= 1000: spec.template.spec.containerConcurrency",
        ),
        (
            {f"{CONTAINER}__ports": [{"containerPort": 8012}]},
            "invalid value: 8012: spec.template.spec.containers[0].ports",
        ),
        ({f"{CONTAINER}__ports": [{"containerPort": 1}, {"containerPort": 2}]}, "more than one container port is set"),
        ({f"{CONTAINER}__ports": [{"name": "ftp"}]}, "Port name ftp is not allowed"),
        ({"template__spec__nodeSelector": {"a": "b"}}, "must not set the field(s): spec.template.spec.nodeSelector"),
        ({"template__metadata__name": "other-1"}, '"other-1" must have "hello-" prefix'),
        (
            {"template__metadata__annotations": {"autoscaling.knative.dev/min-scale": "-1"}},
            "expected 0 <= -1 <= 2147483647: spec.template.metadata.annotations.autoscaling.knative.dev/min-scale",
        ),
        (
            {"template__metadata__annotations": {"autoscaling.knative.dev/window": "2s"}},
            "expected 6s <= 2s <= 1h0m0s: spec.template.metadata.annotations.autoscaling.knative.dev/window",
        ),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)
def test_what_knative_refuses_is_refused_in_its_words(run, changes, words):
    async def scenario(world):
        with pytest.raises(BadRequest) as refused:
            await world.store.create(_service(**changes))
        assert words in str(refused.value)

    run(scenario)


def test_defaults_are_those_of_knative_and_a_revision_cannot_be_changed(run):
    async def scenario(world):
        await world.apply()
        service = world.get("Service", "hello")
        pod = service["spec"]["template"]["spec"]
        assert (pod["timeoutSeconds"], pod["containerConcurrency"]) == (300, 0)
        assert pod["containers"][0]["name"] == "user-container"
        assert pod["containers"][0]["readinessProbe"] == {"successThreshold": 1, "tcpSocket": {"port": 0}}
        assert service["spec"]["traffic"] == [{"latestRevision": True, "percent": 100}]
        revision = world.get("Revision", "hello-00001")
        revision["spec"]["timeoutSeconds"] = 1
        with pytest.raises(BadRequest, match="Immutable fields changed"):
            await world.store.update(revision)

    run(scenario)
