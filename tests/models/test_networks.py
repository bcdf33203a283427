"""PyTorch programs made cheaper: fully connected ones become numpy, convolutions are frozen, all others stay."""

import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from zeroflow.artifacts import Stores
from zeroflow.models import torches
from zeroflow.models.directories import find_model
from zeroflow.models.loading import load_versioned
from zeroflow.models.trust import Word

torch: Any = pytest.importorskip("torch", reason="PyTorch is not installed")
nn = torch.nn


class Skip(nn.Module):  # type: ignore[misc]
    """No chain: the input is used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 4)

    def forward(self, x: Any) -> Any:
        return x + self.inner(x)


CHAIN = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Dropout(), nn.Linear(6, 3), nn.Tanh(), nn.Linear(3, 2))
CASES = {
    "chain": (CHAIN, (2, 4), "compiled to numpy"),
    "softmax": (nn.Sequential(nn.Linear(4, 3, bias=False), nn.Sigmoid(), nn.Softmax(-1)), (2, 4), "compiled to numpy"),
    "gelu": (nn.Sequential(nn.Linear(4, 3), nn.GELU()), (2, 4), "original, cpu"),
    "skip": (Skip(), (2, 4), "original, cpu"),
    "double": (nn.Linear(4, 3).double(), (2, 4), "original, cpu"),
}


def saved(place: Path, module: Any, rows: Any, form: str, compiling: bool = True) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if form == "script":
            torch.jit.trace(module, rows).save(str(place / "model.pt"))
        else:
            shapes = ({0: torch.export.Dim("n")},)
            torch.export.save(torch.export.export(module, (rows,), dynamic_shapes=shapes), str(place / "model.pt2"))
        return torches.read(find_model(place, None), "0", compiling)


@pytest.mark.parametrize("form", ["script", "export"])
@pytest.mark.parametrize("case", CASES)
def test_answers_are_the_originals(tmp_path: Path, case: str, form: str) -> None:
    module, shape, says = CASES[case]
    kind = torch.float64 if case == "double" else torch.float32
    module, rows = module.eval(), 3 * torch.randn(*shape, dtype=kind)
    model = saved(tmp_path, module, rows, form)
    assert model.serves.startswith(says), model.serves
    assert model.width == (4 if says.startswith("compiled") else None)  # by which it is known to be quick
    for given in (rows, rows[:1], torch.full_like(rows, np.nan), torch.full_like(rows, 1e20)):
        found = model.run({model.inputs[0].name: given.numpy()}, ("output-0",))["output-0"]
        with torch.inference_mode():
            wanted = module(given).numpy()
        assert found.dtype == wanted.dtype
        assert np.allclose(found, wanted, rtol=1e-5, atol=1e-5, equal_nan=True)


def test_rows_that_do_not_fit_are_refused_in_torchs_words(tmp_path: Path) -> None:
    model = saved(tmp_path, CHAIN.eval(), torch.zeros(2, 4), "script")
    with pytest.raises(ValueError, match="shapes cannot be multiplied"):
        model.run({model.inputs[0].name: np.zeros((1, 5), dtype=np.float32)}, ("output-0",))


def test_a_convolution_is_frozen(tmp_path: Path) -> None:
    layers = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2)
    module, rows = nn.Sequential(*layers).eval(), torch.randn(2, 3, 40, 40)
    model = saved(tmp_path, module, rows, "script")
    assert ("frozen, equal within" in model.serves) or ("frozen, it takes" in model.serves), model.serves
    found = model.run({model.inputs[0].name: rows.numpy()}, ("output-0",))["output-0"]
    assert np.allclose(found, module(rows).detach().numpy(), rtol=1e-5, atol=1e-5)


def test_compiling_can_be_switched_off(tmp_path: Path) -> None:
    assert saved(tmp_path, CHAIN.eval(), torch.zeros(2, 4), "script", compiling=False).serves == "original, cpu"


AGAIN = """
import sys
from pathlib import Path
import numpy as np
from zeroflow.artifacts import Stores
from zeroflow.models.loading import load_versioned
from zeroflow.models.trust import Word
root = Path(sys.argv[1])
stores = Stores(root / "store")
model, _ = load_versioned(stores, "store://models/net", Word(by="me"), None, None, True, root / "memory")
assert "torch" not in sys.modules, "it was not remembered"
rows = np.load(root / "rows.npy")
np.save(root / "found.npy", model.run({model.inputs[0].name: rows}, ("output-0",))["output-0"])
assert "torch" not in sys.modules, "its compiled form does not answer"
one = model.run({model.inputs[0].name: rows[0]}, ("output-0",))["output-0"]  # which torch takes as well
assert "torch" in sys.modules and np.allclose(one, np.load(root / "found.npy")[0], atol=1e-5)
"""


def remembered_run(root: Path, module: Any) -> subprocess.CompletedProcess[str]:
    """Load a module, so that it is remembered, and let another process answer with it."""
    place = root / "store" / "models" / "net"
    place.mkdir(parents=True)
    rows = torch.randn(8, 4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.trace(module.eval(), rows).save(str(place / "model.pt"))
        load_versioned(Stores(root / "store"), "store://models/net", Word(by="me"), None, None, True, root / "memory")
    np.save(root / "rows.npy", rows.numpy())
    return subprocess.run([sys.executable, "-c", AGAIN, str(root)], capture_output=True, text=True)


@pytest.mark.parametrize("case", ["chain", "softmax"])
def test_network_that_was_compiled_before_answers_without_torch(tmp_path: Path, case: str) -> None:
    module = CASES[case][0]
    done = remembered_run(tmp_path, module)
    assert done.returncode == 0, done.stderr
    with torch.inference_mode():
        expected = module(torch.tensor(np.load(tmp_path / "rows.npy"))).numpy()
    assert np.allclose(np.load(tmp_path / "found.npy"), expected, rtol=0, atol=1e-5)


def test_network_that_stays_as_it_is_is_not_remembered(tmp_path: Path) -> None:
    assert "it was not remembered" in remembered_run(tmp_path, CASES["gelu"][0]).stderr
    assert not (tmp_path / "memory").exists()
