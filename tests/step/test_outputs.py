"""What a step is given and what it hands on."""

import hashlib
import json

import pytest


def test_a_namedtuple_becomes_output_parameters_and_the_log_holds_what_was_printed(function, task, components):
    wanted = task(components.add, {"a": 2, "b": 0.5})
    answer = function.request(wanted)
    assert (answer["state"], answer["error"], answer["exit_code"]) == ("SUCCEEDED", None, 0)
    assert answer["outputs"]["parameterValues"] == {"total": 2.5, "first": 2}
    assert "adding 2 and 0.5" in function.log_of(wanted)
    assert answer["log_uri"] == wanted["log_uri"]
    assert answer["started_ms"] <= answer["finished_ms"]
    assert {"queue_ms", "fetch_ms", "fork_ms", "run_ms", "store_ms", "total_ms"} <= set(answer["timings"])
    assert {name: answer[name] for name in ("run_id", "task_id", "task_name", "attempt")} == {
        name: wanted[name] for name in ("run_id", "task_id", "task_name", "attempt")
    }


def test_parameters_of_every_type_keep_their_json_type(function, task, components):
    values = {
        "text": "héllo\n{{$.x}}",
        "count": 7,
        "ratio": 2.0,
        "flag": False,
        "items": [1, 2.5, "x", None],
        "table": {"a": [1, {"b": 2}]},
    }
    answer = function.request(task(components.every_type, {**values, "missing": "default"}))
    assert answer["state"] == "SUCCEEDED", answer
    assert json.dumps(answer["outputs"]["parameterValues"], sort_keys=True) == json.dumps(values, sort_keys=True)


def test_parameters_written_to_files_are_read_by_their_type(function, task, components):
    answer = function.request(task(components.write_parameter_file))
    assert answer["outputs"]["parameterValues"] == {"text": "two\nlines", "count": 7, "items": [1, 2.5]}


def test_artifacts_pass_from_step_to_step_with_hash_size_and_metadata(function, task, components):
    made = function.request(task(components.make_dataset, {"rows": 3}))
    (data,) = made["outputs"]["artifacts"]["data"]
    assert data["type"] == "system.Dataset"
    assert data["sha256"] == hashlib.sha256(b"x\nx\nx\n").hexdigest()
    assert (data["size_bytes"], data["metadata"]) == (6, {"rows": 3})
    assert function.path(data["uri"]).read_bytes() == b"x\nx\nx\n"
    (metrics,) = made["outputs"]["artifacts"]["metrics"]
    assert (metrics["sha256"], metrics["size_bytes"], metrics["metadata"]) == (None, None, {"rows": 3, "odd": "nan"})

    given = {"name": "data", "uri": data["uri"], "type": {"schemaTitle": "system.Dataset"}, "metadata": {"rows": 3}}
    trained = function.request(task(components.train, artifacts={"data": [given]}))
    assert trained["outputs"]["parameterValues"] == {"Output": 3}
    (model,) = trained["outputs"]["artifacts"]["model"]
    assert model["metadata"] == {"framework": "none", "register_as": "flights", "read_from": data["uri"]}
    assert model["size_bytes"] == 4
    file = hashlib.sha256(b"3\n").hexdigest()
    listing = f"{file}  deep/more.txt\n{file}  weights.txt\n"
    assert model["sha256"] == hashlib.sha256(listing.encode()).hexdigest()

    given = {"name": "model", "uri": model["uri"], "type": {"schemaTitle": "system.Model"}, "metadata": {}}
    read = function.request(task(components.read_directory, artifacts={"model": [given]}))
    assert read["outputs"]["parameterValues"] == {"Output": "3"}


def test_an_artifact_made_at_get_uri_or_returned_as_data_is_stored(function, task, components):
    wanted = task(components.return_artifact, {"name": "mine"})
    (made,) = function.request(wanted)["outputs"]["artifacts"]["Output"]
    assert made["uri"] == wanted["executor_input"]["outputs"]["artifacts"]["Output"]["artifacts"][0]["uri"]
    assert (function.path(made["uri"]).read_text(), made["metadata"]) == ("mine", {"name": "mine"})
    (payload,) = function.request(task(components.return_payload))["outputs"]["artifacts"]["Output"]
    assert function.path(payload["uri"]).read_text() == "the payload"


def test_an_artifact_that_nothing_was_written_to_is_recorded_without_bytes(function, task, components):
    answer = function.request(task(components.write_nothing))
    assert answer["state"] == "SUCCEEDED"
    assert [answer["outputs"]["artifacts"][key][0]["sha256"] for key in ("data", "metrics")] == [None, None]
    assert answer["outputs"]["artifacts"]["metrics"][0]["metadata"] == {"auc": 0.5}


def test_an_artifact_written_to_a_path_of_the_step_is_stored_at_the_tasks_location(function, task, components):
    (data,) = function.request(task(components.custom_path))["outputs"]["artifacts"]["data"]
    assert data["uri"].startswith("store://artifacts/default/pipe/")
    assert function.path(data["uri"]).read_text() == "elsewhere"


@pytest.fixture
def stored(function):
    """Put a dataset into the store and return it as a runtime artifact."""
    path = function.store / "artifacts" / "given" / "data.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("as it was")
    return {"name": "data", "uri": "store://artifacts/given/data.csv", "type": {"schemaTitle": "system.Dataset"}}


def test_a_step_cannot_change_a_stored_input(function, task, components, stored):
    answer = function.request(task(components.spoil_input, artifacts={"data": [stored]}))
    assert answer["outputs"]["parameterValues"] == {"Output": "as it was"}
    assert (function.store / "artifacts/given/data.csv").read_text() == "as it was"


def test_an_input_that_is_passed_on_is_described_by_its_stored_bytes(function, task, components, stored):
    (out,) = function.request(task(components.pass_on, artifacts={"data": [stored]}))["outputs"]["artifacts"]["Output"]
    assert (out["uri"], out["metadata"]) == (stored["uri"], {"passed": True})
    assert out["sha256"] == hashlib.sha256(b"as it was").hexdigest()


def test_an_input_by_file_uri_inside_the_store_is_read_and_one_outside_is_refused(function, task, components, stored):
    inside = {**stored, "uri": f"file://{function.store}/artifacts/given/data.csv"}
    answer = function.request(task(components.spoil_input, artifacts={"data": [inside]}))
    assert answer["outputs"]["parameterValues"] == {"Output": "as it was"}
    outside = {**stored, "uri": "file:///etc/hostname"}
    answer = function.request(task(components.spoil_input, artifacts={"data": [outside]}))
    assert (answer["state"], answer["error"]["reason"]) == ("FAILED", "InvalidInput")
    assert "outside the store" in answer["error"]["message"]


def test_threads_and_exit_handlers_are_waited_for(function, task, components):
    wanted = task(components.finish_in_a_thread)
    (data,) = function.request(wanted)["outputs"]["artifacts"]["data"]
    assert data["size_bytes"] == 4
    assert "said at exit" in function.log_of(wanted)


def test_the_attempts_folder_is_gone_after_the_answer(function, task, components):
    for component in (components.write_nothing, components.return_nan):
        wanted = task(component)
        function.request(wanted)
        assert not function.folder(wanted).exists()
