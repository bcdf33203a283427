"""Every method of the official client against a server that is new, errors included."""

import inspect
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines.serving import served

pytestmark = pytest.mark.filterwarnings("ignore")


class Noted:
    """A client that notes which of its methods are called."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.called: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        self.called.add(name)
        return getattr(self.client, name)


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Noted]:
    """A client of a server that nobody has used."""
    import kfp

    with served(tmp_path_factory.mktemp("fresh")) as url:
        yield Noted(kfp.Client(host=url))


@pytest.fixture
def refused() -> Callable[..., Any]:
    """Return what calls a method that must be refused, and checks Google's status in the answer."""
    import kfp_server_api

    def call(status: int, code: int, message: str, method: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        with pytest.raises(kfp_server_api.ApiException) as caught:
            method(*args, **kwargs)
        body = json.loads(caught.value.body)
        assert (caught.value.status, body["code"], body["details"]) == (status, code, [])
        assert re.search(message, body["message"]), body["message"]

    return call


def test_nothing_is_there_at_first(fresh: Noted) -> None:
    assert fresh.get_kfp_healthz().multi_user is False
    assert not fresh.list_experiments().experiments
    assert not fresh.list_pipelines().pipelines
    assert not fresh.list_runs().runs
    assert not fresh.list_recurring_runs().recurring_runs
    assert fresh.get_pipeline_id("none") is None


def test_experiments(fresh: Noted, refused: Callable[..., None]) -> None:
    made = fresh.create_experiment("lab", "what it is for", namespace="team-a")
    assert (made.namespace, made.description, made.storage_state) == ("team-a", "what it is for", "AVAILABLE")
    assert fresh.create_experiment("lab", namespace="team-a").experiment_id == made.experiment_id
    elsewhere = fresh.create_experiment("lab", namespace="team-b")
    assert elsewhere.experiment_id != made.experiment_id
    assert fresh.get_experiment(experiment_name="lab", namespace="team-b").experiment_id == elsewhere.experiment_id
    for number in range(5):
        fresh.create_experiment(f"many-{number}", namespace="team-a")
    listed = fresh.list_experiments(page_size=4, sort_by="name desc", namespace="team-a")
    assert [one.display_name for one in listed.experiments] == ["many-4", "many-3", "many-2", "many-1"]
    rest = fresh.list_experiments(listed.next_page_token, 4, "name desc", "team-a").experiments
    assert [one.display_name for one in rest] == ["many-0", "lab"]
    fresh.archive_experiment(made.experiment_id)
    archived = {"operation": 1, "key": "storage_state", "stringValue": "ARCHIVED"}
    found = fresh.list_experiments(namespace="team-a", filter=json.dumps({"predicates": [archived]}))
    assert [one.experiment_id for one in found.experiments] == [made.experiment_id]
    fresh.unarchive_experiment(made.experiment_id)
    fresh.delete_experiment(made.experiment_id)
    refused(404, 5, "no experiment", fresh.get_experiment, made.experiment_id)
    refused(404, 5, "no experiment", fresh.delete_experiment, made.experiment_id)
    refused(404, 5, "no experiment", fresh.archive_experiment, "ghost")
    refused(404, 5, "no experiment", fresh.unarchive_experiment, "ghost")
    refused(400, 3, "namespace '../etc' must be", fresh.create_experiment, "x", namespace="../etc")
    with pytest.raises(ValueError, match="No experiment is found"):
        fresh.get_experiment(experiment_name="ghost")


def test_pipelines_and_versions(fresh: Noted, package: Path, refused: Callable[..., None]) -> None:
    from pipelines.tutorial import tutorial

    made = fresh.upload_pipeline(str(package), "by-file", "three steps", namespace="team-a")
    assert (made.namespace, made.display_name, made.description) == ("team-a", "by-file", "three steps")
    ours = fresh.upload_pipeline_from_pipeline_func(tutorial, pipeline_name="by-function")
    assert fresh.get_pipeline(ours.pipeline_id).name == "by-function"
    assert fresh.get_pipeline_id("by-function") == ours.pipeline_id
    assert [one.name for one in fresh.list_pipelines(namespace="team-a").pipelines] == ["by-file"]
    second = fresh.upload_pipeline_version(str(package), "v2", pipeline_name="by-function", description="second")
    third = fresh.upload_pipeline_version_from_pipeline_func(tutorial, "v3", pipeline_id=ours.pipeline_id)
    assert third.pipeline_spec["root"] == second.pipeline_spec["root"]
    versions = fresh.list_pipeline_versions(ours.pipeline_id, page_size=2, sort_by="created_at desc")
    assert [one.name for one in versions.pipeline_versions] == ["v3", "v2"]
    assert fresh.get_pipeline_version(ours.pipeline_id, second.pipeline_version_id).description == "second"
    refused(409, 6, "already exists", fresh.upload_pipeline, str(package), "by-function")
    refused(409, 6, "already has", fresh.upload_pipeline_version, str(package), "v2", pipeline_id=ours.pipeline_id)
    refused(404, 5, "no pipeline ghost", fresh.upload_pipeline_version, str(package), "v", pipeline_id="ghost")
    refused(404, 5, "no pipeline ghost", fresh.get_pipeline, "ghost")
    refused(404, 5, "no pipeline ghost", fresh.list_pipeline_versions, "ghost")
    refused(404, 5, "no version", fresh.get_pipeline_version, ours.pipeline_id, "ghost")
    refused(404, 5, "no version", fresh.delete_pipeline_version, made.pipeline_id, second.pipeline_version_id)
    refused(400, 9, "still has versions", fresh.delete_pipeline, ours.pipeline_id)
    for version in fresh.list_pipeline_versions(ours.pipeline_id).pipeline_versions:
        fresh.delete_pipeline_version(ours.pipeline_id, version.pipeline_version_id)
    fresh.delete_pipeline(ours.pipeline_id)
    assert fresh.get_pipeline_id("by-function") is None


def test_runs(fresh: Noted, package: Path, refused: Callable[..., None]) -> None:
    from pipelines.tutorial import tutorial

    result = fresh.create_run_from_pipeline_func(
        tutorial, {"rows": 2}, "from a function", "lab", "team-a", enable_caching=False, service_account="sa"
    )
    fresh.wait_for_run_completion(result.run_id, 60, sleep_duration=0.05)
    run = result.wait_for_run_completion(timeout=60)
    assert (run.state, run.display_name, run.service_account) == ("SUCCEEDED", "from a function", "sa")
    again = fresh.create_run_from_pipeline_package(
        str(package), {"rows": 3}, "from a package", namespace="team-a", pipeline_root="store://elsewhere/root"
    )
    run = fresh.wait_for_run_completion(again.run_id, 60, sleep_duration=0.05)
    assert run.runtime_config.pipeline_root == "store://elsewhere/root"
    experiment = fresh.get_experiment(experiment_name="lab", namespace="team-a")
    started = fresh.run_pipeline(experiment.experiment_id, "from an experiment", str(package), {"rows": 4})
    assert fresh.wait_for_run_completion(started.run_id, 60, sleep_duration=0.05).state == "SUCCEEDED"
    details = fresh.get_run(started.run_id).run_details.task_details
    assert {detail.state for detail in details} == {"SUCCEEDED"}
    listed = fresh.list_runs(namespace="team-a", sort_by="created_at desc").runs
    assert [one.display_name for one in listed] == ["from an experiment", "from a package", "from a function"]
    assert len(fresh.list_runs(experiment_id=experiment.experiment_id).runs) == 2
    succeeded = {"operation": "IN", "key": "state", "string_values": {"values": ["SUCCEEDED", "FAILED"]}}
    found = fresh.list_runs(namespace="team-a", filter=json.dumps({"predicates": [succeeded]}))
    assert found.total_size == 3
    fresh.archive_run(started.run_id)
    assert fresh.get_run(started.run_id).storage_state == "ARCHIVED"
    fresh.unarchive_run(started.run_id)
    refused(400, 9, "SUCCEEDED", fresh.terminate_run, started.run_id)
    refused(400, 9, "SUCCEEDED", fresh._run_api.run_service_retry_run, started.run_id)
    refused(400, 3, "has no parameter 'ghost'", fresh.create_run_from_pipeline_func, tutorial, {"ghost": 1})
    refused(400, 3, "must be an integer", fresh.create_run_from_pipeline_func, tutorial, {"rows": "many"})
    refused(404, 5, "no experiment", fresh.run_pipeline, "ghost", "job", str(package))
    fresh.delete_run(started.run_id)
    for method in (
        fresh.get_run, fresh.delete_run, fresh.archive_run, fresh.unarchive_run, fresh.terminate_run,
        fresh._run_api.run_service_retry_run,
    ):  # fmt: skip
        refused(404, 5, "no run", method, started.run_id)


def test_what_an_archived_experiment_holds_rests(fresh: Noted, package: Path, refused: Callable[..., None]) -> None:
    group = fresh.create_experiment("resting")
    run = fresh.run_pipeline(group.experiment_id, "r", str(package))
    fresh.wait_for_run_completion(run.run_id, 60, sleep_duration=0.05)
    recurring = fresh.create_recurring_run(
        group.experiment_id, "j", interval_second=3600, pipeline_package_path=str(package)
    )
    fresh.archive_experiment(group.experiment_id)
    assert fresh.get_run(run.run_id).storage_state == "ARCHIVED"
    assert fresh.get_recurring_run(recurring.recurring_run_id).status == "DISABLED"
    refused(400, 9, "unarchive its experiment", fresh.unarchive_run, run.run_id)
    refused(400, 9, "is archived", fresh.run_pipeline, group.experiment_id, "r2", str(package))
    fresh.unarchive_experiment(group.experiment_id)
    fresh.unarchive_run(run.run_id)


def test_recurring_runs(fresh: Noted, package: Path, refused: Callable[..., None]) -> None:
    group = fresh.create_experiment("nightly")
    uploaded = fresh.upload_pipeline(str(package), "recurring")
    (version,) = fresh.list_pipeline_versions(uploaded.pipeline_id).pipeline_versions
    by_cron = fresh.create_recurring_run(
        group.experiment_id, "cron", "each night", "2031-01-01T00:00:00Z", "2032-01-01T00:00:00Z",
        cron_expression="0 0 3 * * *", max_concurrency=2, no_catchup=True, params={"rows": 9},
        pipeline_id=uploaded.pipeline_id, version_id=version.pipeline_version_id,
    )  # fmt: skip
    by_interval = fresh.create_recurring_run(
        group.experiment_id, "interval", interval_second=60, pipeline_package_path=str(package), enabled=False
    )
    found = fresh.get_recurring_run(by_cron.recurring_run_id)
    assert (found.trigger.cron_schedule.cron, found.no_catchup, found.max_concurrency) == ("0 0 3 * * *", True, "2")
    assert found.trigger.cron_schedule.start_time.year == 2031
    assert found.pipeline_version_reference.pipeline_version_id == version.pipeline_version_id
    assert (found.mode, found.status, by_interval.status) == ("ENABLE", "ENABLED", "DISABLED")
    for switch, status in (
        (fresh.disable_recurring_run, "DISABLED"), (fresh.enable_recurring_run, "ENABLED"),
        (fresh.disable_job, "DISABLED"), (fresh.enable_job, "ENABLED"),
    ):  # fmt: skip
        switch(by_cron.recurring_run_id)
        assert fresh.get_recurring_run(by_cron.recurring_run_id).status == status
    listed = fresh.list_recurring_runs(experiment_id=group.experiment_id, sort_by="name").recurring_runs
    assert [one.display_name for one in listed] == ["cron", "interval"]
    refused(
        400, 3, "six fields", fresh.create_recurring_run, group.experiment_id, "bad", cron_expression="* *",
        pipeline_package_path=str(package),
    )  # fmt: skip
    fresh.delete_recurring_run(by_cron.recurring_run_id)
    fresh.delete_job(by_interval.recurring_run_id)
    for method in (
        fresh.get_recurring_run, fresh.delete_recurring_run, fresh.enable_recurring_run, fresh.disable_recurring_run,
    ):  # fmt: skip
        refused(404, 5, "no recurring run", method, by_cron.recurring_run_id)


def test_every_method_of_the_client_was_called(fresh: Noted, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import kfp

    monkeypatch.setattr(type(fresh.client), "_context_setting", {"namespace": ""}, raising=False)
    monkeypatch.setattr("kfp.client.client.Client._LOCAL_KFP_CONTEXT", str(tmp_path / "context.json"))
    fresh.set_user_namespace("team-a")
    assert fresh.get_user_namespace() == "team-a"
    methods = {name for name, _ in inspect.getmembers(kfp.Client, inspect.isfunction) if not name.startswith("_")}
    assert methods - fresh.called == set()
