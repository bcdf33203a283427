"""The official client reads a list of 1,000 runs to its end, page by page, while the list grows."""

import json
import uuid
from typing import Any

import pytest
from sqlalchemy import insert, inspect, select

from pipelines.harness import Platform, chain, pipeline, task
from zeroflow.metadata.pipelines import Run

pytestmark = pytest.mark.filterwarnings("ignore")
RUNS = 1000


def _copies(platform: Platform, run_id: str, numbers: range) -> None:
    """Add runs like one that there is; four begin in each millisecond."""
    columns = [column.key for column in inspect(Run).column_attrs]
    with platform.database.transaction() as session:
        first = session.scalars(select(Run).where(Run.id == run_id)).one()
        row: dict[str, Any] = {name: getattr(first, name) for name in columns}
        changed = [
            {"id": str(uuid.uuid4()), "name": f"run-{number:04}", "created_ms": first.created_ms + number // 4}
            for number in numbers
        ]
        session.execute(insert(Run), [{**row, **change} for change in changed])


@pytest.mark.parametrize("sort_by", ["", "created_at desc", "name", "finished_at desc"])
def test_a_page_through_of_1000_runs_meets_each_once(platform: Platform, sort_by: str) -> None:
    import kfp

    _copies(platform, platform.submit(chain(1)), range(1, RUNS))
    with platform.served() as url:
        client = kfp.Client(host=url)
        seen: list[str] = []
        token, pages = "", 0
        while True:
            page = client.list_runs(page_token=token, page_size=97, sort_by=sort_by)
            seen += [run.run_id for run in page.runs]
            token, pages = page.next_page_token, pages + 1
            if pages == 2:  # what is added behind the reader's back neither repeats nor drops what was there
                before, known = page.total_size, {run.run_id for run in client.list_runs(page_size=200).runs}
                _copies(platform, seen[0], range(5 * RUNS, 5 * RUNS + 3))
            if not token:
                break
    assert before == RUNS
    assert known
    assert len(set(seen)) == len(seen)
    assert pages == 11
    assert RUNS <= len(seen) <= RUNS + 3


def test_a_token_carries_order_and_filter(local: Platform) -> None:
    _copies(local, local.submit(chain(1)), range(1, 40))
    predicate = {"predicates": [{"operation": 9, "key": "name", "stringValue": "run-00"}]}
    first = local.client.get(
        "/apis/v2beta1/runs",
        query_string={"page_size": 25, "sort_by": "name desc", "filter": json.dumps(predicate)},
    ).json
    rest = local.get(f"/runs?page_token={first['next_page_token']}")
    assert [run["display_name"] for run in first["runs"] + rest["runs"]] == [f"run-{at:04}" for at in range(39, 0, -1)]
    assert rest["next_page_token"] == ""
    for query in ({"sort_by": "name asc"}, {"filter": json.dumps({"predicates": []})}):
        answer = local.client.get("/apis/v2beta1/runs", query_string={"page_token": first["next_page_token"], **query})
        assert answer.status_code == 400
        assert "page_token belongs to a list" in answer.json["message"]


def test_the_tasks_of_a_wide_run_are_read_page_by_page(local: Platform) -> None:
    run_id = local.submit(pipeline({f"leaf{number:03}": task("leaf") for number in range(45)}))
    seen: list[str] = []
    query: dict[str, Any] = {"page_size": 20, "sort_by": "name"}
    steps = {"predicates": [{"operation": "EQUALS", "key": "kind", "stringValue": "step"}]}
    query["filter"] = json.dumps(steps)
    while True:
        page = local.client.get(f"/apis/v2beta1/runs/{run_id}/tasks", query_string=query).json
        assert page["total_size"] == 45
        seen += [found["name"] for found in page["tasks"]]
        if not page["next_page_token"]:
            break
        query = {"page_size": 20, "page_token": page["next_page_token"]}
    assert seen == [f"leaf{number:03}" for number in range(45)]
    refused = local.client.get(f"/apis/v2beta1/runs/{run_id}/tasks", query_string={"sort_by": "colour"})
    assert (refused.status_code, refused.json["code"]) == (400, 3)
    assert local.client.get("/apis/v2beta1/runs/none/tasks", query_string={"page_size": 1}).status_code == 404
