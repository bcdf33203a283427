"""Run in an environment with openlineage-python and cyclonedx-python-lib: is what stdin holds theirs?

`python lineage_checks.py openlineage|cyclonedx`; prints what is wrong and ends with 1.
"""

import json
import sys


def check_openlineage(lines: list[str]) -> None:
    import attr
    from openlineage.client.event_v2 import InputDataset, Job, OutputDataset, Run, RunEvent, RunState
    from openlineage.client.generated import (
        dataset_type_dataset,
        dataset_version_dataset,
        datasource_dataset,
        job_type_job,
        parent_run,
        source_code_location_job,
        tags_dataset,
    )
    from openlineage.client.serde import Serde

    classes = {
        "parent": parent_run.ParentRunFacet,
        "jobType": job_type_job.JobTypeJobFacet,
        "sourceCodeLocation": source_code_location_job.SourceCodeLocationJobFacet,
        "version": dataset_version_dataset.DatasetVersionDatasetFacet,
        "datasetType": dataset_type_dataset.DatasetTypeDatasetFacet,
        "dataSource": datasource_dataset.DatasourceDatasetFacet,
        "tags": tags_dataset.TagsDatasetFacet,
    }

    def facets(given: dict) -> dict:
        made = {}
        for name, fields in given.items():
            kind = classes[name]
            assert fields["_schemaURL"] == kind._get_schema(), (name, fields["_schemaURL"])
            values = {key: value for key, value in fields.items() if not key.startswith("_")}
            if name == "parent":
                values = {"run": parent_run.Run(**values["run"]), "job": parent_run.Job(**values["job"])}
            if name == "tags":
                values = {"tags": [tags_dataset.TagsDatasetFacetFields(**one) for one in values["tags"]]}
            unknown = set(values) - {field.name for field in attr.fields(kind)}
            assert not unknown, (name, unknown)
            made[name] = kind(producer=fields["_producer"], **values)
        return made

    assert lines
    for line in lines:
        event = json.loads(line)
        made = RunEvent(
            eventType=RunState[event["eventType"]],
            eventTime=event["eventTime"],
            run=Run(event["run"]["runId"], facets(event["run"].get("facets", {}))),
            job=Job(event["job"]["namespace"], event["job"]["name"], facets(event["job"]["facets"])),
            inputs=[InputDataset(one["namespace"], one["name"], facets(one["facets"])) for one in event["inputs"]],
            outputs=[OutputDataset(one["namespace"], one["name"], facets(one["facets"])) for one in event["outputs"]],
            producer=event["producer"],
        )
        written = json.loads(Serde.to_json(made))
        assert written["schemaURL"] == event["schemaURL"], written["schemaURL"]


def check_cyclonedx(text: str) -> None:
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    fault = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    assert fault is None, fault


if __name__ == "__main__":
    given = sys.stdin.read()
    check_openlineage(given.splitlines()) if sys.argv[1] == "openlineage" else check_cyclonedx(given)
