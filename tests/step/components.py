"""Components as a user writes them; the SDK compiles them from their source."""

from typing import NamedTuple

from kfp import dsl
from kfp.dsl import Artifact, Dataset, Input, Metrics, Model, Output, OutputPath

component = dsl.component(base_image="python:3.11")


@component
def add(a: int, b: float) -> NamedTuple("Sums", [("total", float), ("first", int)]):
    print(f"adding {a} and {b}")
    return (a + b, a)


@component
def every_type(
    text: str, count: int, ratio: float, flag: bool, items: list, table: dict, missing: str = "default"
) -> NamedTuple(
    "Same", [("text", str), ("count", int), ("ratio", float), ("flag", bool), ("items", list), ("table", dict)]
):
    assert (type(count), type(ratio), type(flag)) == (int, float, bool)
    assert missing == "default"
    return (text, count, ratio, flag, items, table)


@component
def write_parameter_file(text: OutputPath(str), count: OutputPath(int), items: OutputPath(list)):
    with open(text, "w") as file:
        file.write("two\nlines")
    with open(count, "w") as file:
        file.write("7")
    with open(items, "w") as file:
        file.write("[1, 2.5]")


@component
def make_dataset(rows: int, data: Output[Dataset], metrics: Output[Metrics]):
    with open(data.path, "w") as file:
        file.write("x\n" * rows)
    data.metadata["rows"] = rows
    metrics.log_metric("rows", rows)
    metrics.log_metric("odd", float("nan"))
    print("uri", data.uri)


@component
def train(data: Input[Dataset], model: Output[Model]) -> int:
    import os

    with open(data.path) as file:
        lines = file.read().splitlines()
    os.makedirs(os.path.join(model.path, "deep"))
    for name in ("weights.txt", "deep/more.txt"):
        with open(os.path.join(model.path, name), "w") as file:
            file.write(f"{len(lines)}\n")
    model.framework = "none"
    model.metadata["register_as"] = "flights"
    model.metadata["read_from"] = data.uri
    return len(lines)


@component
def read_directory(model: Input[Model]) -> str:
    import os

    return open(os.path.join(model.path, "deep", "more.txt")).read().strip()


@component
def return_artifact(name: str) -> Dataset:
    made = Dataset(uri=dsl.get_uri("Output"), metadata={"name": name})
    with open(made.path, "w") as file:
        file.write(name)
    return made


@component
def return_payload() -> Artifact:
    return "the payload"


@component
def pass_on(data: Input[Dataset]) -> Dataset:
    with open(data.path, "w") as file:
        file.write("a change in the step's own copy")
    return Dataset(uri=data.uri, metadata={"passed": True})


@component
def spoil_input(data: Input[Dataset]) -> str:
    import os

    os.chmod(data.path, 0o666)
    with open(data.path, "r+") as file:
        before = file.read()
        file.seek(0)
        file.write("SPOILED")
    os.truncate(data.path, 1)
    return before


@component
def write_nothing(data: Output[Dataset], metrics: Output[Metrics]):
    metrics.log_metric("auc", 0.5)


@component
def custom_path(data: Output[Dataset]):
    with open("elsewhere.csv", "w") as file:
        file.write("elsewhere")
    data.path = "elsewhere.csv"


@component
def fail(rows: int) -> str:
    def check(count):
        if count == 0:
            raise ValueError("no rows\nin the whole file")

    check(rows)
    return "fine"


@component
def leave(code: int) -> str:
    import sys

    sys.exit(code)


@component
def leave_with_words():
    import sys

    sys.exit("the table is empty")


@component
def leave_quietly():
    import sys

    sys.exit(0)


@component
def leave_at_once(code: int):
    import os

    os._exit(code)


@component
def kill_self(number: int):
    import os

    os.kill(os.getpid(), number)


@component
def broken_source():
    import no_such_module  # noqa: F401


@component
def return_wrong_type() -> int:
    return "seven"


@component
def return_nothing() -> str:
    return None


@component
def write_wrong_type(count: OutputPath(int)):
    with open(count, "w") as file:
        file.write("seven")


@component
def return_nan() -> float:
    return float("nan")


@component
def link_as_output(data: Output[Dataset]):
    import os

    os.symlink("/etc/hostname", data.path)


@component
def link_inside_output(data: Output[Dataset]):
    import os

    os.makedirs(data.path)
    os.symlink("/etc", os.path.join(data.path, "etc"))


@component
def link_above_output(data: Output[Dataset], outside: str):
    import os
    import shutil

    folder = os.path.dirname(data.path)
    shutil.rmtree(folder)
    os.symlink(outside, folder)
    with open(data.path, "w") as file:
        file.write("x")


@component
def pipe_as_output(data: Output[Dataset]):
    import os

    os.mkfifo(data.path)


@component
def climb_out(data: Output[Dataset], uri: str):
    import os

    data.uri = uri
    if uri.startswith("store://") and ".." not in uri:
        os.makedirs(os.path.dirname(data.path), exist_ok=True)
        with open(data.path, "w") as file:
            file.write("climbed")


@component
def say_environment() -> NamedTuple("Seen", [("environ", dict), ("initial", str), ("cwd", str), ("tmp", str)]):
    import os
    import tempfile

    return (dict(os.environ), open("/proc/self/environ").read().replace("\0", "\n"), os.getcwd(), tempfile.gettempdir())


@component
def count_and_wait(counter: str, gate: str) -> str:
    import os
    import time

    with open(counter, "a") as file:
        file.write("ran\n")
    while gate and not os.path.exists(gate):
        time.sleep(0.005)
    return "done"


@component
def start_a_family(pids: str, stubborn: bool):
    import os
    import signal
    import subprocess
    import sys
    import time

    if stubborn:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    grandchild = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    with open(pids + ".new", "w") as file:
        file.write(f"{os.getpid()} {grandchild.pid}")
    os.rename(pids + ".new", pids)
    time.sleep(600)


@component
def leave_a_process_behind(pids: str):
    import subprocess
    import sys

    left = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    with open(pids, "w") as file:
        file.write(str(left.pid))


@component
def leave_a_daemon_behind(pids: str):
    import subprocess
    import sys

    left = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
    with open(pids, "w") as file:
        file.write(str(left.pid))


@component
def finish_in_a_thread(data: Output[Dataset]):
    import atexit
    import threading
    import time

    def late():
        time.sleep(0.2)
        with open(data.path, "w") as file:
            file.write("late")

    threading.Thread(target=late).start()
    atexit.register(print, "said at exit")


@component
def draw() -> list:
    import random

    import numpy as np
    import numpy.random

    return [random.random(), float(np.random.random()), float(np.random.default_rng().random())]


@component
def fit_in_parallel() -> float:
    import numpy as np
    from sklearn.ensemble import HistGradientBoostingClassifier

    rng = np.random.default_rng(0)
    x = rng.normal(size=(4000, 6))
    y = (x[:, 0] > 0).astype(int)
    assert (x @ x.T).shape == (4000, 4000)
    return float(HistGradientBoostingClassifier(max_iter=5).fit(x, y).score(x, y))


@component
def use_processes() -> list:
    import multiprocessing

    with multiprocessing.get_context("spawn").Pool(2) as pool:
        return pool.map(abs, [-1, -2])


@component
def fail_with_strange_characters():
    raise ValueError("no \x00 rows \udc80")


@component
def return_strange_characters(text: str) -> dict:
    return {"found": ["a" + chr(int(text, 16))]}


@component
def describe_with_strange_characters(data: Output[Dataset]):
    data.metadata["found"] = ["a\x00b\udc80"]


@component
def remove_its_folder():
    import os
    import shutil

    shutil.rmtree(os.path.dirname(os.getcwd()))


needs_installed = dsl.component(base_image="python:3.11", packages_to_install=["numpy>=1", "kfp"])


@needs_installed
def uses_installed() -> str:
    import sys

    return sys.prefix


def uses_tiny() -> NamedTuple("Seen", [("answer", int), ("prefix", str), ("numpy", bool), ("kfp", str)]):
    import importlib.util
    import sys

    import kfp
    import zeroflow_tiny

    return (zeroflow_tiny.ANSWER, sys.prefix, importlib.util.find_spec("numpy") is not None, kfp.__version__)


@component
def litter() -> list:
    """Return what files there are where a step may write, and leave some of each kind."""
    import os

    found = os.listdir(".") + [name for name in os.listdir("..") if name not in ("control", "work")]
    ours = ("ephemeral_component.py", "pid", "ended.json")
    found += [name for name in os.listdir("../control") if name not in ours]
    found = [name for name in found if not (name == "executor_output.json" and not os.path.getsize(f"../{name}"))]
    for folder in (".", "..", "../control"):
        os.makedirs(f"{folder}/deep/er")
        os.symlink("/etc/hostname", f"{folder}/link")
        for name in ("pid", "file", "deep/er/file"):
            if not os.path.exists(f"{folder}/{name}"):
                with open(f"{folder}/{name}", "w") as file:
                    file.write("left")
    return found


@component
def look_around() -> str:
    """Tell which Python this is, and what it sees."""
    import importlib.util
    import json
    import os
    import sys

    import theirs

    return json.dumps(
        {
            "prefix": sys.prefix,
            "zeroflow": importlib.util.find_spec("zeroflow") is not None,
            "theirs": theirs.WORD,
            "variable": os.environ.get("FROM_IMAGE"),
            "secret": os.environ.get("AWS_SECRET_ACCESS_KEY"),
            "cwd": os.getcwd(),
        }
    )


@component
def look_for_another() -> NamedTuple("Seen", [("modules", list), ("path", list), ("argv", list)]):
    import logging
    import sys

    logging.getLogger().info("said by %d handler(s)", len(logging.root.handlers))
    return ([name for name in sys.modules if "rehearsed" in name], sys.path[:3], sys.argv[1:3])
