"""A recurring run on a whole host: the official client declares it, a clock starts its runs, nothing is left of it."""

import warnings

from kfp import compiler

from lifecycle import pipelines


def test_a_cron_of_every_second_starts_runs_until_it_is_disabled(host, tmp_path, wait_until):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from kfp import Client
    package = str(tmp_path / "say-it.yaml")
    compiler.Compiler().compile(pipelines.say_it, package)
    client = Client(host=host.url)
    experiment = client.create_experiment("clocks")
    made = client.create_recurring_run(
        experiment_id=experiment.experiment_id,
        job_name="every second",
        cron_expression="* * * * * *",
        max_concurrency=2,
        params={"word": "tick"},
        pipeline_package_path=package,
    )
    assert client.get_recurring_run(made.recurring_run_id).status == "ENABLED"
    listed = client.list_recurring_runs(experiment_id=experiment.experiment_id).recurring_runs
    assert [one.display_name for one in listed] == ["every second"]

    def succeeded():
        runs = client.list_runs(experiment_id=experiment.experiment_id).runs or []
        return sum(run.state == "SUCCEEDED" for run in runs) >= 2

    wait_until(succeeded, "two runs of the series")
    pings = "/apis/sources.knative.dev/v1/namespaces/zeroflow/pingsources"
    name = f"recurring-{made.recurring_run_id}"
    assert name in [item["metadata"]["name"] for item in host.get(pings)["items"]]
    client.disable_recurring_run(made.recurring_run_id)
    wait_until(
        lambda: name not in [item["metadata"]["name"] for item in host.get(pings)["items"]], "its clock to be gone"
    )
    client.delete_recurring_run(made.recurring_run_id)
    assert not client.list_recurring_runs(experiment_id=experiment.experiment_id).recurring_runs
