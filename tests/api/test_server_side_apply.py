"""Server-side apply: who owns which field, what conflicts, what goes away."""

from typing import Any

import pytest

from zeroflow.knative.local.api.builtin import BUILTIN_KINDS
from zeroflow.knative.local.api.errors import Conflict
from zeroflow.knative.local.api.kinds import Kind, Version
from zeroflow.knative.local.api.managers import Manager, apply, record_update

JOB = next(kind for kind in BUILTIN_KINDS if kind.kind == "Job")
WIDGET = Kind("example.com", "Widget", "widgets", (Version("v1"),), "v1", custom=True)


def by(name: str, operation: str = "Apply") -> Manager:
    return Manager(name, operation, "example.com/v1")


def widget(spec: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    return {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"} | metadata, "spec": spec}


def managers_of(obj: dict[str, Any]) -> dict[str, Any]:
    return {entry["manager"]: entry["fieldsV1"] for entry in obj["metadata"].get("managedFields", [])}


def test_what_a_manager_no_longer_names_goes_away_and_the_rest_stays() -> None:
    live = apply(WIDGET, None, widget({"a": 1, "b": {"c": 2}}, labels={"x": "1"}), by("one"), False)
    live = apply(WIDGET, live, widget({"d": 4}), by("two"), False)
    live = apply(WIDGET, live, widget({"a": 1}), by("one"), False)
    assert live["spec"] == {"a": 1, "d": 4}
    assert "labels" not in live["metadata"]
    assert managers_of(live) == {"one": {"f:spec": {"f:a": {}}}, "two": {"f:spec": {"f:d": {}}}}


def test_another_managers_value_conflicts_unless_forced() -> None:
    live = apply(WIDGET, None, widget({"a": 1}), by("one"), False)
    with pytest.raises(Conflict, match=r'conflict with "one": \.spec\.a') as refused:
        apply(WIDGET, live, widget({"a": 2}), by("two"), False)
    assert refused.value.details["causes"][0]["reason"] == "FieldManagerConflict"
    forced = apply(WIDGET, live, widget({"a": 2}), by("two"), True)
    assert forced["spec"] == {"a": 2}
    assert managers_of(forced) == {"two": {"f:spec": {"f:a": {}}}}


def test_the_same_value_is_shared_and_outlives_one_of_its_managers() -> None:
    live = apply(WIDGET, None, widget({"a": 1}), by("one"), False)
    live = apply(WIDGET, live, widget({"a": 1}), by("two"), False)
    live = apply(WIDGET, live, {"metadata": {"name": "w"}}, by("one"), False)
    assert live["spec"] == {"a": 1}
    assert set(managers_of(live)) == {"two"}


def test_an_update_owns_what_it_changed() -> None:
    live = apply(WIDGET, None, widget({"a": 1, "b": 1}), by("one"), False)
    updated = {**live, "spec": {"a": 2, "b": 1}, "metadata": dict(live["metadata"])}
    record_update(WIDGET, live, updated, by("editor", "Update"))
    assert managers_of(updated) == {"one": {"f:spec": {"f:b": {}}}, "editor": {"f:spec": {"f:a": {}}}}
    with pytest.raises(Conflict, match=r'conflict with "editor" using example.com/v1: \.spec\.a'):
        apply(WIDGET, updated, widget({"a": 1, "b": 1}), by("one"), False)


def test_lists_are_atomic_unless_their_items_have_keys() -> None:
    live = apply(WIDGET, None, widget({"words": ["a"], "env": [{"name": "A", "value": "1"}]}), by("one"), False)
    live = apply(WIDGET, live, widget({"env": [{"name": "B", "value": "2"}]}), by("two"), False)
    assert live["spec"]["env"] == [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]
    with pytest.raises(Conflict, match=r"\.spec\.words"):
        apply(WIDGET, live, widget({"words": ["a", "b"]}), by("two"), False)
    live = apply(WIDGET, live, widget({"words": ["a"]}), by("one"), False)
    assert live["spec"]["env"] == [{"name": "B", "value": "2"}]


def test_containers_merge_by_name() -> None:
    def job(containers: list[dict[str, Any]]) -> dict[str, Any]:
        template = {"spec": {"containers": containers}}
        return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j"}, "spec": {"template": template}}

    live = apply(JOB, None, job([{"name": "main", "image": "a"}]), Manager("one", "Apply", "batch/v1"), False)
    live = apply(
        JOB,
        live,
        job([{"name": "main", "env": [{"name": "X", "value": "1"}]}, {"name": "side", "image": "b"}]),
        Manager("two", "Apply", "batch/v1"),
        False,
    )
    assert live["spec"]["template"]["spec"]["containers"] == [
        {"name": "main", "image": "a", "env": [{"name": "X", "value": "1"}]},
        {"name": "side", "image": "b"},
    ]


def test_a_list_that_defaults_have_given_keys_still_belongs_to_who_applied_it() -> None:
    def containers(value: str) -> dict[str, Any]:
        return widget({"containers": [{"image": "x", "env": [{"name": "A", "value": value}]}]})

    live = apply(WIDGET, None, containers("1"), by("one"), False)
    live["spec"]["containers"][0] |= {"name": "user-container", "readinessProbe": {"successThreshold": 1}}
    assert apply(WIDGET, live, containers("2"), by("one"), False)["spec"] == containers("2")["spec"]
    with pytest.raises(Conflict, match=r'conflict with "one": \.spec\.containers'):
        apply(WIDGET, live, containers("2"), by("two"), False)
    assert apply(WIDGET, live, containers("2"), by("two"), True)["spec"] == containers("2")["spec"]


def test_status_belongs_to_the_status_subresource() -> None:
    live = apply(WIDGET, None, widget({"a": 1}), by("one"), False)
    through_main = apply(WIDGET, live, widget({"a": 1}) | {"status": {"s": 1}}, by("one"), False)
    assert "status" not in through_main
    status = Manager("one", "Apply", "example.com/v1", "status")
    through_status = apply(WIDGET, live, widget({"a": 9}) | {"status": {"s": 1}}, status, False)
    assert through_status["status"] == {"s": 1}
    assert through_status["spec"] == {"a": 1}


def test_applying_again_keeps_even_the_times() -> None:
    live = apply(WIDGET, None, widget({"a": 1}), by("one"), False)
    live["metadata"]["managedFields"][0]["time"] = "2001-01-01T00:00:00Z"
    assert apply(WIDGET, live, widget({"a": 1}), by("one"), False) == live
