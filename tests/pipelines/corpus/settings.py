"""Placeholders of the run, kfp-kubernetes' settings, PipelineConfig, TaskConfig, resources, embedded artifacts."""

from typing import Optional

from kfp import dsl, kubernetes

from corpus.expecting import expect


@dsl.component
def told(name: str, resource: str, run: str, task: str, task_id: str, root: str, created: str, scheduled: str) -> str:
    import re

    assert re.fullmatch(r"[0-9a-f-]{36}", run), run
    assert re.fullmatch(r"[0-9a-f-]{36}", task_id), task_id
    assert created.startswith("20"), created
    assert scheduled.startswith("20"), scheduled
    assert run in root, root
    return f"{bool(name)} {bool(resource)} {task}"


@dsl.component
def file(path: str) -> str:
    return open(path).read()


@dsl.component
def note(path: str, text: str):
    with open(path, "w") as out:
        out.write(text)


@dsl.component
def present(path: str) -> bool:
    import os

    return os.path.exists(path)


@dsl.component
def variable(name: str) -> str:
    import os

    return os.environ.get(name, "absent")


@dsl.component(
    task_config_passthroughs=[
        dsl.TaskConfigField.RESOURCES,
        dsl.TaskConfigField.KUBERNETES_TOLERATIONS,
        dsl.TaskConfigField.KUBERNETES_NODE_SELECTOR,
        dsl.TaskConfigPassthrough(field=dsl.TaskConfigField.ENV, apply_to_task=True),
    ]
)
def configured(task_config: dsl.TaskConfig) -> dict:
    import os

    return {
        "resources": task_config.resources,
        "env": task_config.env,
        "selector": task_config.node_selector,
        "tolerations": task_config.tolerations,
        "own": os.environ.get("A"),
    }


@dsl.component
def memory(megabytes: int) -> int:
    return len(bytearray(megabytes << 20))


@dsl.component
def sleep(seconds: float) -> float:
    import time

    time.sleep(seconds)
    return seconds


@dsl.component
def grandchildren_that_take(megabytes: int) -> int:
    import subprocess
    import sys

    code = f"x = bytearray({megabytes} << 20); import time; time.sleep(30)"
    return sum(child.wait() for child in [subprocess.Popen([sys.executable, "-c", code]) for _ in range(4)])


@expect(outputs={"told": {"Output": "True True told"}})
@dsl.pipeline(name="placeholders-of-the-run")
def placeholders_of_the_run():
    told(
        name=dsl.PIPELINE_JOB_NAME_PLACEHOLDER,
        resource=dsl.PIPELINE_JOB_RESOURCE_NAME_PLACEHOLDER,
        run=dsl.PIPELINE_JOB_ID_PLACEHOLDER,
        task=dsl.PIPELINE_TASK_NAME_PLACEHOLDER,
        task_id=dsl.PIPELINE_TASK_ID_PLACEHOLDER,
        root=dsl.PIPELINE_ROOT_PLACEHOLDER,
        created=dsl.PIPELINE_JOB_CREATE_TIME_UTC_PLACEHOLDER,
        scheduled=dsl.PIPELINE_JOB_SCHEDULE_TIME_UTC_PLACEHOLDER,
    )


@expect(outputs={"file": {"Output": "kept"}})
@dsl.pipeline(name="claim-made-mounted-deleted")
def claim_made_mounted_deleted():
    claim = kubernetes.CreatePVC(pvc_name_suffix="-data", access_modes=["ReadWriteOnce"], size="1Mi")
    written = note(path="/data/note", text="kept")
    kubernetes.mount_pvc(written, pvc_name=claim.outputs["name"], mount_path="/data")
    found = file(path="/data/note").after(written).set_caching_options(False)
    kubernetes.mount_pvc(found, pvc_name=claim.outputs["name"], mount_path="/data")
    kubernetes.DeletePVC(pvc_name=claim.outputs["name"]).after(found)


@expect(outputs={"file": {"Output": "bar"}, "file-2": {"Output": "user1"}, "present": {"Output": False}})
@dsl.pipeline(name="config-map-and-secret-as-files")
def config_map_and_secret_as_files():
    kubernetes.use_config_map_as_volume(
        file(path="/etc/settings/foo"), config_map_name="my-cm", mount_path="/etc/settings"
    )
    kubernetes.use_secret_as_volume(
        file(path="/etc/keys/username"), secret_name="test-secret-1", mount_path="/etc/keys"
    )
    absent = present(path="/etc/absent/x")
    kubernetes.use_secret_as_volume(absent, secret_name="nobody", mount_path="/etc/absent", optional=True)


@expect("FAILED", error="the step needs Secret 'nobody', which is not in namespace default")
@dsl.pipeline(name="secret-that-is-not-there")
def secret_that_is_not_there():
    kubernetes.use_secret_as_env(variable(name="X"), secret_name="nobody", secret_key_to_env={"a": "X"})


@expect(outputs={"variable": {"Output": "absent"}, "variable-2": {"Output": "bar"}, "variable-3": {"Output": "ml"}})
@dsl.pipeline(name="environment-from-the-cluster")
def environment_from_the_cluster():
    kubernetes.use_secret_as_env(variable(name="X"), secret_name="nobody", secret_key_to_env={"a": "X"}, optional=True)
    kubernetes.use_config_map_as_env(variable(name="X"), config_map_name="my-cm", config_map_key_to_env={"foo": "X"})
    labelled = kubernetes.add_pod_label(variable(name="TEAM"), "team", "ml")
    kubernetes.use_field_path_as_env(labelled, env_name="TEAM", field_path="metadata.labels['team']")


@expect(outputs={"present": {"Output": True}, "present-2": {"Output": True}})
@dsl.pipeline(name="scratch-volumes")
def scratch_volumes():
    kubernetes.empty_dir_mount(present(path="/scratch"), volume_name="scratch", mount_path="/scratch", medium="Memory")
    kubernetes.add_ephemeral_volume(
        present(path="/ephemeral"), volume_name="e", mount_path="/ephemeral", access_modes=["ReadWriteOnce"], size="1Mi"
    )


@expect(outputs={"variable": {"Output": "absent"}}, arguments={"where": {"disk": "ssd"}})
@dsl.pipeline(name="nodes-chosen-by-parameters")
def nodes_chosen_by_parameters(where: dict):
    task = variable(name="NOTHING")
    kubernetes.add_node_selector_json(task, node_selector_json=where)
    kubernetes.add_toleration(task, key="gpu", operator="Exists", effect="NoSchedule")
    kubernetes.add_node_affinity(task, match_expressions=[{"key": "zone", "operator": "In", "values": ["a"]}], weight=3)
    kubernetes.set_image_pull_policy(task, "IfNotPresent")
    kubernetes.set_image_pull_secrets(task, ["registry"])
    kubernetes.set_timeout(task, 60)
    kubernetes.set_security_context(task, run_as_user=1000, run_as_group=1000, run_as_non_root=True)
    kubernetes.add_pod_annotation(task, "zeroflow.dev/execution", "job")


@expect(outputs={"file": {"Output": "shared"}})
@dsl.pipeline(name="workspace", pipeline_config=dsl.PipelineConfig(workspace=dsl.WorkspaceConfig(size="1Mi")))
def workspace():
    path = f"{dsl.WORKSPACE_PATH_PLACEHOLDER}/note"
    file(path=path).after(note(path=path, text="shared"))


@expect("FAILED", error="timed out after")
@dsl.pipeline(name="run-with-a-deadline", pipeline_config=dsl.PipelineConfig(active_deadline_seconds=2))
def run_with_a_deadline():
    sleep(seconds=60.0)


@expect("FAILED", error="timed out after 1 s")
@dsl.pipeline(name="step-with-a-timeout")
def step_with_a_timeout():
    kubernetes.set_timeout(sleep(seconds=60.0), 1)


@expect(
    outputs={
        "configured": {
            "Output": {
                "resources": {"limits": {"cpu": "1", "memory": "1Gi"}},
                "env": [{"name": "A", "value": "b"}],
                "selector": {"disk": "ssd"},
                "tolerations": [{"key": "k", "operator": "Exists"}],
                "own": "b",
            }
        }
    }
)
@dsl.pipeline(name="task-config")
def task_config():
    task = configured().set_cpu_limit("1").set_memory_limit("1Gi").set_env_variable("A", "b")
    kubernetes.add_node_selector(task, label_key="disk", label_value="ssd")
    kubernetes.add_toleration(task, key="k", operator="Exists")


@expect(outputs={"memory": {"Output": 20 << 20}})
@dsl.pipeline(name="within-the-memory-limit")
def within_the_memory_limit():
    memory(megabytes=20).set_memory_limit("512Mi").set_cpu_limit("1")


@expect("FAILED", error="out of memory")
@dsl.pipeline(name="over-the-memory-limit")
def over_the_memory_limit():
    memory(megabytes=2000).set_memory_limit("512Mi")


@expect("FAILED", error="out of memory", arguments={"limit": "300M"})
@dsl.pipeline(name="children-over-the-memory-limit")
def children_over_the_memory_limit(limit: str):
    grandchildren_that_take(megabytes=150).set_memory_limit(limit)


@expect("REFUSED", error="needs 2 nvidia.com/gpu")
@dsl.pipeline(name="accelerator-that-is-not-there")
def accelerator_that_is_not_there():
    variable(name="X").set_accelerator_type("nvidia.com/gpu").set_accelerator_limit(2)


@expect(outputs={"variable": {"Output": "absent"}})
@dsl.pipeline(name="cached-with-a-key")
def cached_with_a_key():
    variable(name="NOTHING").set_caching_options(enable_caching=True, cache_key="mine")


@expect(outputs={"variable": {"Output": "absent"}})
@dsl.pipeline(name="settings-of-optional-inputs-that-nobody-gives")
def settings_of_optional_inputs_that_nobody_gives(
    secret: Optional[str] = None,
    config: Optional[str] = None,
    pull: Optional[str] = None,
    selector: Optional[dict] = None,
    toleration: Optional[dict] = None,
    affinity: Optional[dict] = None,
):
    task = variable(name="X")
    kubernetes.use_secret_as_env(task, secret_name=secret, secret_key_to_env={"a": "X"})
    kubernetes.use_secret_as_volume(task, secret_name=secret, mount_path="/s")
    kubernetes.use_config_map_as_env(task, config_map_name=config, config_map_key_to_env={"a": "X"})
    kubernetes.use_config_map_as_volume(task, config_map_name=config, mount_path="/c")
    kubernetes.set_image_pull_secrets(task, [pull])
    kubernetes.add_node_selector_json(task, node_selector_json=selector)
    kubernetes.add_toleration_json(task, toleration_json=toleration)
    kubernetes.add_node_affinity_json(task, node_affinity_json=affinity)


@expect(outputs={"file": {"Output": "in a loop"}}, arguments={"claim": "given-claim"})
@dsl.pipeline(name="claim-mounted-in-a-loop")
def claim_mounted_in_a_loop(claim: str):
    with dsl.ParallelFor(["a", "b"]):
        written = note(path="/data/loop", text="in a loop").set_display_name("note")
        kubernetes.mount_pvc(written, pvc_name=claim, mount_path="/data", sub_path="below")
    found = file(path="/data/below/loop").after(written)
    kubernetes.mount_pvc(found, pvc_name=claim, mount_path="/data")


@expect(outputs={"variables": {"Output": "user1 bar ml absent True"}})
@dsl.pipeline(name="environment-of-a-job")
def environment_of_a_job():
    @dsl.component
    def variables(path: str) -> str:
        import os

        names = ("NAME", "FOO", "TEAM", "NOBODY")
        return " ".join(os.environ.get(name, "absent") for name in names) + f" {os.path.isdir(path)}"

    task = variables(path="/scratch")
    kubernetes.empty_dir_mount(task, volume_name="scratch", mount_path="/scratch")
    kubernetes.use_secret_as_env(task, secret_name="test-secret-1", secret_key_to_env={"username": "NAME"})
    kubernetes.use_config_map_as_env(task, config_map_name="my-cm", config_map_key_to_env={"foo": "FOO"})
    kubernetes.use_secret_as_env(task, secret_name="nobody", secret_key_to_env={"a": "NOBODY"}, optional=True)
    kubernetes.add_pod_label(task, "team", "ml")
    kubernetes.use_field_path_as_env(task, env_name="TEAM", field_path="metadata.labels['team']")


@expect("FAILED", error="the step needs Secret 'nobody', which is not in namespace default")
@dsl.pipeline(name="secret-that-a-job-misses")
def secret_that_a_job_misses():
    task = variable(name="X")
    kubernetes.empty_dir_mount(task, volume_name="scratch", mount_path="/scratch")
    kubernetes.use_secret_as_env(task, secret_name="nobody", secret_key_to_env={"a": "X"})
