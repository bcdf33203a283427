"""Conditions change their time only with their status."""

from zeroflow.resources.conditions import condition, find_condition, is_current, is_true, set_condition

EARLY, LATE = "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"


def test_time_stays_while_the_status_does() -> None:
    first = set_condition([], condition("Ready", "False", "NoModel"), EARLY)
    second = set_condition(first, condition("Ready", "False", "Other", "why"), LATE)
    assert second == [
        {"type": "Ready", "status": "False", "reason": "Other", "message": "why", "lastTransitionTime": EARLY}
    ]


def test_time_changes_with_the_status() -> None:
    first = set_condition([], condition("Ready", "False"), EARLY)
    assert set_condition(first, condition("Ready", "True"), LATE)[0]["lastTransitionTime"] == LATE


def test_conditions_are_sorted_by_type() -> None:
    both = set_condition(set_condition([], condition("Ready", "True"), EARLY), condition("Addressable", "True"), EARLY)
    assert [found["type"] for found in both] == ["Addressable", "Ready"]


def test_condition_of_an_object() -> None:
    obj = {
        "metadata": {"generation": 2},
        "status": {"observedGeneration": 1, "conditions": [condition("Ready", "True")]},
    }
    assert is_true(obj, "Ready")
    assert not is_true(obj, "Other")
    assert find_condition(None, "Ready") is None
    assert not is_current(obj)
    assert is_current({**obj, "status": {"observedGeneration": 2}})
