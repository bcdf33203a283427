"""Metrics from files, event files, an HTTP port and a collector of the user's; trials that are ended early."""

import inspect
import re
import struct
from pathlib import Path

import pytest
import yaml

from tuning.experiments import experiment, outcome
from zeroflow.functions.trial.collector.lines import in_text
from zeroflow.functions.trial.collector.prometheus import samples
from zeroflow.functions.trial.collector.rules import Rule, Rules
from zeroflow.functions.trial.collector.tail import Tail
from zeroflow.functions.trial.collector.tfevents import Events

TEXT = "open('/katib/mnist.log', 'a').write('epoch 1: loss=0.5\\nloss=0.25\\n'); print('loss=7')"
JSON = 'open(\'/katib/mnist.json\', \'a\').write(\'{"loss": "0.5"}\\n{"loss": "0.25"}\\n\')'
SERVED = """
import http.server, threading, time
class Metrics(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
        self.wfile.write(b"# TYPE loss gauge\\nloss 0.25\\n")
    def log_message(self, *_): pass
server = http.server.HTTPServer(("127.0.0.1", PORT), Metrics)
threading.Thread(target=server.serve_forever, daemon=True).start()
time.sleep(1.6)
"""


def event_file(folder: Path, values: list[tuple[str, float, bool]]) -> None:
    """Write an event file as TensorBoard's writers do: plain numbers, or tensors."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "events.out.tfevents.1.host").open("ab") as file:
        for number, (tag, value, as_tensor) in enumerate(values):
            name = bytes([0x0A, len(tag)]) + tag.encode()
            if as_tensor:
                tensor = b"\x08\x01\x22\x04" + struct.pack("<f", value)
                content = name + b"\x42" + bytes([len(tensor)]) + tensor
            else:
                content = name + b"\x15" + struct.pack("<f", value)
            summary = b"\x0a" + bytes([len(content)]) + content
            record = b"\x09" + struct.pack("<d", 1.7e9 + number) + b"\x10\x01\x2a" + bytes([len(summary)]) + summary
            file.write(struct.pack("<QI", len(record), 0) + record + b"\0\0\0\0")


EVENTS = f"""
import inspect
import re
import struct
from pathlib import Path
{inspect.getsource(event_file)}
event_file(Path("/train/metrics"), [("loss", 0.5, False), ("loss", 0.25, True)])
"""


def collected(kind: str, **source) -> dict:
    return {"metricsCollectorSpec": {"collector": {"kind": kind}, "source": source}}


@pytest.mark.parametrize(
    ("name", "script", "collector"),
    [
        ("text", TEXT, collected("File", fileSystemPath={"path": "/katib/mnist.log", "kind": "File"})),
        (
            "json",
            JSON,
            collected("File", fileSystemPath={"path": "/katib/mnist.json", "kind": "File", "format": "JSON"}),
        ),
        ("events", EVENTS, collected("TensorFlowEvent", fileSystemPath={"path": "/train", "kind": "Directory"})),
    ],
    ids=lambda each: each if isinstance(each, str) and len(each) < 10 else "",
)
def test_metrics_are_read_where_they_are_written(tuning, name, script, collector):
    tuning.apply(experiment(name, f"x = '${{trialParameters.x}}'\n{script}", maxTrialCount=2, **collector))
    ended = tuning.ended(name)
    assert outcome(ended)["type"] == "Succeeded", outcome(ended)
    [metric] = ended["status"]["currentOptimalTrial"]["observation"]["metrics"]
    assert float(metric["latest"]) == float(metric["min"]) == 0.25
    assert float(metric["max"]) == 0.5


def test_metrics_are_scraped_from_a_port(tuning, free_port):
    script = f"x = '${{trialParameters.x}}'\n{SERVED}".replace("PORT", str(free_port))
    served = collected("PrometheusMetric", httpGet={"port": free_port, "path": "/metrics"})
    tuning.apply(experiment("scraped", script, maxTrialCount=1, **served))
    ended = tuning.ended("scraped")
    assert ended["status"]["currentOptimalTrial"]["observation"]["metrics"][0]["latest"] == "0.25", outcome(ended)


def test_a_trial_that_writes_no_file_says_so(tuning):
    collector = collected("File", fileSystemPath={"path": "/katib/none.log", "kind": "File"})
    tuning.apply(experiment("fileless", "print('loss=1 ${trialParameters.x}')", maxTrialCount=1, **collector))
    message = outcome(tuning.ended("fileless"))["message"]
    assert "/katib/none.log has no value of the objective metric 'loss', or was not written" in message


STEPS = """
import time
x = float("${trialParameters.x}")
for step in range(1, 5):
    print(f"loss={x + step}")
    time.sleep(0.02)
time.sleep(30 if x > 5 else 0)
"""


@pytest.mark.parametrize("algorithm", ["medianstop", "median"])
def test_a_trial_that_is_worse_than_the_others_is_ended_early(tuning, algorithm):
    """Three trials of 1, 2, 3; their means over two steps are 2.5, 3.5 and 4.5, of which 3.5 is mean and median."""
    settings = [{"name": "min_trials_required", "value": "3"}, {"name": "start_step", "value": "2"}]
    points = {"name": "x", "parameterType": "discrete", "feasibleSpace": {"list": ["1", "2", "3", "10"]}}
    tuning.apply(
        experiment(
            algorithm,
            STEPS,
            parameters=[points],
            algorithm={"algorithmName": "grid"},
            parallelTrialCount=1,
            earlyStopping={"algorithmName": algorithm, "algorithmSettings": settings},
        )
    )
    ended = tuning.ended(algorithm)
    assert ended["status"]["trialsSucceeded"] == 3
    assert ended["status"]["trialsEarlyStopped"] == 1
    [stopped] = [
        each
        for each in tuning.trials(algorithm)
        if each["metadata"]["name"] in ended["status"]["earlyStoppedTrialList"]
    ]
    rule = {"name": "loss", "value": "3.5", "comparison": "greater", "startStep": 2}
    assert stopped["spec"]["earlyStoppingRules"][0] == rule
    assert stopped["spec"]["parameterAssignments"][0]["value"] == "10"
    assert outcome(stopped)["reason"] == "TrialEarlyStopped"
    assert float(stopped["status"]["observation"]["metrics"][0]["latest"]) == 12
    assert outcome(ended)["reason"] == "ExperimentMaxTrialsReached"


def test_a_rule_is_applied_at_its_step_to_the_best_so_far():
    rules = Rules("loss", False, [Rule("loss", 1.0, "greater", 2)])
    pattern = [re.compile(r"(\w+)=(\S+)")]
    assert rules.heed(in_text("loss=5", ["loss"], pattern)) is None
    assert rules.heed(in_text("loss=0.5", ["loss"], pattern)) is None  # the best is 0.5
    assert rules.heed(in_text("loss=9", ["loss"], pattern)) is None  # the step has gone by
    both = Rules("loss", False, [Rule("loss", 1.0, "greater"), Rule("epoch", 2.0, "equal")])
    assert both.heed(in_text("loss=9", ["loss", "epoch"], pattern)) is None
    assert both.heed(in_text("epoch=2", ["loss", "epoch"], pattern)) is not None


def test_asha_lets_the_best_quarter_go_on():
    from zeroflow.functions.trial import stopping
    from zeroflow.tuning.defaults import defaulted
    from zeroflow.tuning.spec import parse

    settings = [{"name": "min_resource", "value": "2"}, {"name": "reduction_factor", "value": "2"}]
    obj = defaulted(experiment("a", earlyStopping={"algorithmName": "asha", "algorithmSettings": settings}))
    histories = {str(at): [9.0, float(at), 0.5 + at, 0.25 + at] for at in range(4)} | {"short": [9.0, 8.0]}
    made = stopping.rules(parse(obj["spec"]), lambda: histories)
    assert [(each["startStep"], float(each["value"])) for each in made] == [(2, 1.0), (4, 1.0)]


def test_scalars_are_read_as_event_files_grow(tmp_path):
    events = Events(tmp_path, ["loss", "train/loss"])
    assert list(events.new()) == []
    event_file(tmp_path / "train", [("loss", 0.5, False)])
    assert [line.split(" ")[1] for line in events.new()] == ["loss=0.5", "train/loss=0.5"]
    event_file(tmp_path / "train", [("other", 1.0, False), ("loss", 0.25, True)])
    path = tmp_path / "train" / "events.out.tfevents.1.host"
    path.write_bytes(path.read_bytes() + b"\x20")  # a record that is being written
    assert [line.split(" ")[1] for line in events.new()] == ["loss=0.25", "train/loss=0.25"]
    assert list(events.new()) == []


def test_a_file_is_read_as_it_grows(tmp_path):
    tail = Tail(tmp_path / "log")
    assert list(tail.new()) == []
    (tmp_path / "log").write_text("one\ntw")
    assert list(tail.new()) == ["one"]
    (tmp_path / "log").write_text("one\ntwo\nthree")
    assert list(tail.new()) == ["two"]
    assert list(tail.new(last=True)) == ["three"]


def test_prometheus_samples():
    text = '# HELP loss x\nloss{step="1"} 0.5\naccuracy 0.9 1700000000\nbad x\nnan NaN\n'
    assert [name for name, _ in samples(text)] == ["loss", "accuracy", "nan"]


WIDGET = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "widgets.example.org"},
    "spec": {
        "group": "example.org",
        "scope": "Namespaced",
        "names": {"kind": "Widget", "plural": "widgets", "singular": "widget", "listKind": "WidgetList"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
            }
        ],
    },
}


def widget(name: str) -> dict:
    return experiment(
        name,
        maxTrialCount=1,
        template={
            "successCondition": 'status.[@this].#(phase=="Done")#',
            "failureCondition": 'status.[@this].#(phase=="Broken")#',
            "trialSpec": {"apiVersion": "example.org/v1", "kind": "Widget", "spec": {"x": "${trialParameters.x}"}},
        },
        **collected("Push"),
    )


def test_a_trial_of_another_kind_goes_by_its_conditions(tuning, wait_until):
    """The resource's own controller writes the status: here the test does."""
    tuning.apply(WIDGET)
    tuning.apply(widget("widgets"))
    host = tuning.host

    def widgets():
        return host.get("/apis/example.org/v1/namespaces/default/widgets")["items"]

    [made] = wait_until(lambda: widgets() or None, "the Widget")
    patch = yaml.safe_dump({"status": {"phase": "Broken", "message": "no steam"}})
    host.kubectl("patch", "widget", made["metadata"]["name"], "--subresource=status", "--type=merge", "-p", patch)
    ended = tuning.ended("widgets")
    assert outcome(ended)["type"] == "Failed"
    assert "no steam" in outcome(ended)["message"]
    assert made["spec"]["x"]
    assert made["metadata"]["labels"]["katib.kubeflow.org/experiment"] == "widgets"


def test_a_kind_that_the_cluster_does_not_have_is_named(tuning):
    obj = widget("unknown")
    obj["spec"]["trialTemplate"]["trialSpec"]["kind"] = "Gadget"
    tuning.apply(obj)
    condition = outcome(tuning.ended("unknown"))
    assert condition["type"] == "Failed"
    assert "has no Gadget (example.org/v1)" in condition["message"]
