"""The KFP API of the running host, as commands ask it: runs by id or name, all pages of a list."""

from collections.abc import Iterator
from json import dumps
from typing import Any
from urllib.parse import quote

from zeroflow.cli.host import Host, Refused, authorization, host_url
from zeroflow.errors import NotFound

API = "/apis/v2beta1"
LAST = "last"


class Runs:
    """Runs of one namespace."""

    def __init__(self, namespace: str = "") -> None:
        self.host, self.namespace = Host(host_url(), authorization()), namespace

    def find(self, run: str) -> Any:
        """Return a run by its id, its name (the latest of that name), or `last`."""
        try:
            if run != LAST:
                return self.get(run)
        except Refused as error:
            if error.status != 404:
                raise
        found = next(self.list(1, "" if run == LAST else run), None)
        if found is None:
            named = "there is no run" if run == LAST else f"there is no run {run!r}"
            raise NotFound(f"{named} in namespace {self.namespace or 'default'}; `zeroflow runs list` shows all")
        return self.get(found["run_id"])

    def get(self, run_id: str, rest: str = "") -> Any:
        """Return a run, or what lies below it."""
        return self.host.json("GET", f"{API}/runs/{quote(run_id, safe='')}{rest}")

    def post(self, run_id: str, verb: str, body: Any = None) -> Any:
        """Do something to a run."""
        return self.host.json("POST", f"{API}/runs/{run_id}:{verb}", body or {})

    def list(self, limit: int, name: str = "", state: str = "") -> Iterator[dict[str, Any]]:
        """Yield runs, the latest first."""
        wanted = (("display_name", name), ("state", state))
        predicates = [{"operation": "EQUALS", "key": key, "string_value": value} for key, value in wanted if value]
        query = {"namespace": self.namespace, "sort_by": "created_at desc", "page_size": str(min(limit, 200))}
        query |= {"filter": dumps({"predicates": predicates})} if predicates else {}
        while limit > 0:
            page = self.host.json("GET", f"{API}/runs", query=query)
            yield from page["runs"][:limit]
            limit -= len(page["runs"])
            query["page_token"] = page["next_page_token"]
            if not query["page_token"]:
                return

    def spec(self, run: dict[str, Any]) -> Any:
        """Return the PipelineSpec of a run."""
        document = run.get("pipeline_spec")
        if document is None:
            named = run["pipeline_version_reference"]
            path = f"{API}/pipelines/{named['pipeline_id']}/versions/{named['pipeline_version_id']}"
            document = self.host.json("GET", path)["pipeline_spec"]
        return document.get("pipeline_spec", document)


def step_path(task: str) -> str:
    """Return the path of a task below a run."""
    return f"/tasks/{quote(task, safe='')}"
