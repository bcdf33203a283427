"""Pages, filters and sorting of lists."""

import json
from typing import Any
from urllib.parse import quote

import pytest
from sqlalchemy import select

from pipelines.harness import Platform
from zeroflow.metadata.pipelines import Experiment


def _experiments(platform: Platform, count: int) -> None:
    for at in range(count):
        assert platform.post("/experiments", {"display_name": f"exp-{at:03}", "description": "d"}).status_code == 200


def _names(platform: Platform, **query: Any) -> list[str]:
    text = "&".join(f"{key}={value}" for key, value in query.items())
    return [found["display_name"] for found in platform.get(f"/experiments?{text}")["experiments"]]


def _filter(operation: Any, key: str = "display_name", **value: Any) -> str:
    return json.dumps({"predicates": [{"operation": operation, "key": key, **value}]})


def test_pages_hold_everything_once_in_order(platform: Platform) -> None:
    _experiments(platform, 25)
    for sort_by, expected in (("name asc", list(range(25))), ("created_at desc", list(range(24, -1, -1)))):
        seen, token, pages = [], "", 0
        while True:
            page = platform.get(f"/experiments?page_size=10&sort_by={sort_by}&page_token={token}")
            assert page["total_size"] == 25
            seen += [int(found["display_name"][4:]) for found in page["experiments"]]
            token, pages = page["next_page_token"], pages + 1
            if not token:
                break
        assert (seen, pages) == (expected, 3)


def test_filters_take_operations_by_number_and_by_name(platform: Platform) -> None:
    _experiments(platform, 12)
    assert _names(platform, filter=_filter(1, stringValue="exp-003")) == ["exp-003"]
    assert _names(platform, filter=_filter("EQUALS", string_value="exp-003")) == ["exp-003"]
    assert _names(platform, filter=_filter("IS_SUBSTRING", string_value="EXP-01")) == ["exp-010", "exp-011"]
    assert _names(platform, filter=_filter(9, stringValue="%")) == []
    assert _names(platform, filter=_filter("IN", string_values={"values": ["exp-001", "nope"]})) == ["exp-001"]
    assert len(_names(platform, filter=_filter("NOT_EQUALS", string_value="exp-001"))) == 11
    assert _names(platform, filter=_filter("LESS_THAN", key="created_at", timestampValue="2020-01-01T00:00:00Z")) == []
    assert len(_names(platform, filter=_filter(5, key="created_at", timestampValue="2020-01-01T00:00:00Z"))) == 12


def test_filters_take_every_kind_of_value(platform: Platform) -> None:
    _experiments(platform, 4)
    made = platform.get("/experiments?sort_by=name")["experiments"]
    with platform.database.reading() as session:
        at = session.scalars(select(Experiment.created_ms).order_by(Experiment.name)).all()
    for key, value in (("long_value", str(at[2])), ("longValue", at[2]), ("int_value", str(at[2]))):
        assert "exp-002" in _names(platform, filter=_filter("EQUALS", key="created_at", **{key: value}))
    names = {"string_values": {"values": [made[0]["display_name"]]}}
    assert _names(platform, filter=_filter(8, **names)) == ["exp-000"]
    many = {"longValues": {"values": [str(at[1]), str(at[3])]}}
    assert {"exp-001", "exp-003"} <= set(_names(platform, filter=_filter("IN", key="created_at", **many)))
    encoded = quote(quote(_filter("EQUALS", string_value="exp-003")))  # as the UI sends it
    assert _names(platform, filter=encoded) == ["exp-003"]
    both = {
        "predicates": [
            {"operation": "GREATER_THAN_EQUALS", "key": "name", "string_value": "exp-001"},
            {"operation": "LESS_THAN", "key": "name", "string_value": "exp-003"},
        ]
    }
    assert _names(platform, filter=json.dumps(both)) == ["exp-001", "exp-002"]


def test_runs_that_are_not_finished_can_be_sorted_by_when_they_finished(platform: Platform) -> None:
    from pipelines.harness import chain

    for _ in range(3):
        platform.submit(chain(1))
    first = platform.get("/runs?page_size=2&sort_by=finished_at desc")
    second = platform.get(f"/runs?page_size=2&sort_by=finished_at desc&page_token={first['next_page_token']}")
    assert len({run["run_id"] for run in first["runs"] + second["runs"]}) == 3


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"sort_by": "colour"}, "sort_by 'colour' must be one of"),
        ({"page_size": "many"}, "page_size must be a whole number"),
        ({"page_token": "xxx"}, "page_token 'xxx' was not given by this server"),
        ({"filter": "{"}, "filter is not JSON"),
        ({"filter": _filter("LIKE", string_value="x")}, "operation 'LIKE' is unknown"),
        ({"filter": _filter(1, key="password", string_value="x")}, "key 'password' must be one of"),
        ({"filter": _filter(1, key="created_at", string_value="x")}, "created_at cannot be compared with"),
        ({"filter": _filter(1)}, "a predicate needs one of"),
        ({"filter": _filter(1, string_value="x", int_value=1)}, "a predicate needs one of"),
        ({"filter": _filter(1, key="created_at", long_value=str(2**63))}, "must be a whole number of 64 bits"),
        ({"filter": _filter(1, key="created_at", int_value=True)}, "must be a whole number of 64 bits"),
        ({"filter": _filter("IN", string_value="x")}, "operation 'IN' does not take"),
        ({"filter": _filter("IS_SUBSTRING", key="created_at", long_value=1)}, "IS_SUBSTRING takes a string_value"),
        ({"filter": _filter("EQUALS", key="created_at", timestamp_value="now")}, "must be RFC 3339"),
        ({"page_token": "WyIiLCIiLDEsMl0="}, "was not given by this server"),
        ({"page_size": "9" * 40}, "page_size must be a whole number"),
        ({"namespace": "../x"}, "namespace '../x' must be"),
    ],
)
def test_what_cannot_be_listed_is_a_bad_request(local: Platform, query: dict[str, str], message: str) -> None:
    answer = local.client.get("/apis/v2beta1/experiments", query_string=query)
    assert answer.status_code == 400
    assert message in answer.json["message"]
