"""PyTorch imported without what TorchScript does without, and all of it as soon as anything else is loaded."""

import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest

torch: Any = pytest.importorskip("torch", reason="PyTorch is not installed")
CLASS = """
import torch
from torch import nn


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(4, 2)

    def forward(self, x):
        return self.inner(x)
"""
ASKED = """
import sys
from pathlib import Path
import numpy as np
from zeroflow.artifacts import Stores
from zeroflow.models.loading import load
from zeroflow.models.trust import Word

def ask(name):
    model = load(Stores(Path(sys.argv[1]) / "store"), f"store://models/{name}", Word(by="me"))
    (output,) = model.run({model.inputs[0].name: np.ones((2, 4), dtype=np.float32)}, (model.outputs[0].name,)).values()
    assert output.shape == (2, 2), output.shape

LEFT_OUT = {"torch._meta_registrations", "torch.export"}
"""
LIGHT = "ask('script')\nimport torch\nassert not LEFT_OUT & set(sys.modules)\nassert not hasattr(torch, 'export')\n"
WHOLE = """
assert LEFT_OUT <= set(sys.modules)
import torch
program = torch.export.export(torch.nn.Conv2d(1, 2, 3), (torch.zeros(1, 1, 8, 8),))
assert program.module()(torch.ones(1, 1, 8, 8)).shape == (1, 2, 6, 6)
with torch.device("meta"):
    assert (torch.nn.Linear(3, 5)(torch.zeros(2, 3)).softmax(-1) @ torch.zeros(5, 7)).shape == (2, 7)
from torch._subclasses import FakeTensorMode
with FakeTensorMode():
    assert torch.linalg.svd(torch.zeros(4, 3)).S.shape == (3,)
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("torch")
    for name in ("script", "class", "export"):
        (root / "store" / "models" / name).mkdir(parents=True)
    models = root / "store" / "models"
    module = torch.nn.Linear(4, 2).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(module).save(str(models / "script" / "model.pt"))
    torch.save({f"inner.{name}": each for name, each in module.state_dict().items()}, models / "class" / "model.pt")
    (models / "class" / "network.py").write_text(CLASS)
    torch.export.save(torch.export.export(module, (torch.zeros(2, 4),)), str(models / "export" / "model.pt2"))
    return root


def run(store: Path, code: str) -> None:
    done = subprocess.run([sys.executable, "-c", ASKED + code, str(store)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(not torch.__version__.startswith("2.13."), reason=f"not tried with torch {torch.__version__}")
def test_torchscript_is_served_without_them(store: Path) -> None:
    run(store, LIGHT)


@pytest.mark.parametrize("name", ["class", "export"])
@pytest.mark.parametrize("before", ["", "ask('script')\n"], ids=["first", "after-torchscript"])
def test_any_other_model_has_all_of_torch(store: Path, name: str, before: str) -> None:
    run(store, f"{before}ask('{name}')\n{WHOLE}")


def test_torchscript_after_another_model_changes_nothing(store: Path) -> None:
    run(store, f"ask('class')\nask('script')\n{WHOLE}")


def test_threads_get_all_of_torch(store: Path) -> None:
    thread = (
        "import threading\nthread = threading.Thread(target=ask, args=('script',))\nthread.start()\nthread.join()\n"
    )
    run(store, thread + WHOLE)
