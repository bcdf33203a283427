"""The page of an Experiment, and `zeroflow tune` as a user types it."""

import json
import os
import struct
import subprocess
import sys
import xml.etree.ElementTree as ET
from dataclasses import replace

from zeroflow.cli.tuning_report import HEIGHT, WIDTH, Report, Row, history, parallel

ROWS = [
    Row(0, "t-a", "Succeeded", 3.0, {"x": "0.1", "kind": "<a>"}, {"loss": "3"}),
    Row(1, "t-b", "Failed", None, {"x": "0.2", "kind": "b"}, {}, "KeyError: 'x'"),
    Row(2, "t-c", "EarlyStopped", 5.0, {"x": "0.3", "kind": "b"}, {"loss": "5"}),
    Row(3, "t-d", "Succeeded", 1.0, {"x": "0.4", "kind": "b"}, {"loss": "1"}),
]
REPORT = Report("Experiment default/e", "loss", False, "Succeeded", "All 4 trials have ended", ROWS)


def test_the_history_has_a_point_for_each_value_and_the_best_so_far():
    root = ET.fromstring(history(REPORT))
    assert len(root.findall("circle")) == 3
    [line] = root.findall("polyline")
    heights = [float(point.split(",")[1]) for point in line.get("points").split()]
    assert heights == sorted(heights)  # downwards: what is minimised gets less
    assert len(set(heights)) == 2


def test_parallel_coordinates_have_a_line_for_each_value_and_an_axis_for_each_parameter():
    root = ET.fromstring(parallel(REPORT))
    assert len(root.findall("polyline")) == 3
    assert len(root.findall("line")) == 3  # x, kind, loss
    assert "loss=1" in root.findall("polyline")[-1][0].text  # the best is drawn last


def test_a_page_keeps_what_users_wrote_as_text():
    page = REPORT.page()
    assert "<a>" not in page
    assert "Best: t-d" in page
    assert "KeyError" in page


def test_the_drawings_make_a_picture():
    drawn, empty = REPORT.image(), replace(REPORT, rows=[]).image()
    assert drawn[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", drawn[16:24]) == (2 * WIDTH, 4 * HEIGHT)
    assert len(drawn) > len(empty) + 2000


def test_tune_finds_the_best_and_writes_a_page_and_a_picture(tuned_host, tmp_path):
    (tmp_path / "objective.py").write_text("def loss(x, kind):\n    return (x - 0.3) ** 2 + (kind == 'b')\n")
    page, picture = tmp_path / "page.html", tmp_path / "plots.png"
    words = ["tune", "objective.py:loss", "--space", "x=0.0..1.0", "--space", "kind=a,b", "--trials", "6"]
    more = ["--constraint", "x < 0.8", "--html", str(page), "--png", str(picture), "-o", "json"]
    done = subprocess.run(
        [sys.executable, "-m", "zeroflow", *words, *more],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"ZEROFLOW_HOME": str(tuned_host.home)},
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["condition"]["type"] == "Succeeded"
    best = {each["name"]: each["value"] for each in told["optimal"]["parameterAssignments"]}
    x = float(best["x"])
    found = told["optimal"]["observation"]["metrics"][0]["latest"]
    assert float(found) == (x - 0.3) ** 2 + (best["kind"] == "b")
    assert x < 0.8
    assert page.read_text().count("<circle") == 6
    assert picture.read_bytes()[:4] == b"\x89PNG"
