"""PyTorch programs made cheaper: fully connected ones become numpy, convolutions are frozen, all others stay."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from zeroflow.models import torches
from zeroflow.models.directories import find_model

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
