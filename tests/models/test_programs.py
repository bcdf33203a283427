"""PyTorch programs of any type of numbers: what they say they take is what they take."""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from zeroflow.models import torches
from zeroflow.models.directories import find_model
from zeroflow.models.errors import FormatNotSupported

torch: Any = pytest.importorskip("torch", reason="PyTorch is not installed")
nn = torch.nn
if TYPE_CHECKING:
    Value = Any
else:
    Value = torch.Tensor  # TorchScript reads annotations


class Words(nn.Module):  # type: ignore[misc]
    """Tokens and a mask in, as text models have them; half precision out."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(20, 4)
        self.last = nn.Linear(4, 3)

    def forward(self, input_ids: Value, attention_mask: Value) -> tuple[Value, Value]:
        found = self.table(input_ids.reshape(-1, 5)) * attention_mask.unsqueeze(-1)
        return self.last(found.mean(1)).to(torch.bfloat16), found.argmax(-1)


class Named(nn.Module):  # type: ignore[misc]
    def forward(self, x: Value) -> dict[str, Value]:
        return {"y": x}


TOKENS = np.arange(10).reshape(2, 5)
MASK = np.ones((2, 5), dtype=np.int64)
WORDS = {"input_ids": TOKENS, "attention_mask": MASK}
CLASS = """
import torch
from torch import nn


class Words(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(20, 4)

    def forward(self, input_ids):
        return self.table(input_ids).mean(1)
"""


def loaded(place: Path) -> Any:
    return torches.read(find_model(place, None), "0")


@pytest.fixture
def words() -> Any:
    torch.manual_seed(3)
    return Words().eval()


@pytest.fixture(autouse=True)
def quiet() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript's own, of its end
        yield


@pytest.mark.parametrize("way", ["script", "trace"])
def test_torchscript_that_looks_words_up_takes_whole_numbers(tmp_path: Path, words: Any, way: str) -> None:
    given = (torch.from_numpy(TOKENS), torch.from_numpy(MASK))
    made = torch.jit.script(words) if way == "script" else torch.jit.trace(words, given)
    made.save(str(tmp_path / "model.pt"))
    model = loaded(tmp_path)
    assert [(each.name, each.datatype) for each in model.inputs] == [("input_ids", "INT64"), ("attention_mask", "FP32")]
    expected = words(*given)
    for mask in (MASK, MASK.astype(np.float32), MASK.astype(bool)):
        found = model.run(WORDS | {"attention_mask": mask}, ("output-0", "output-1"))
        assert found["output-0"].dtype == np.float32
        assert np.array_equal(found["output-0"], expected[0].float().detach().numpy())
        assert np.array_equal(found["output-1"], expected[1].numpy())


def test_exported_program_says_what_it_takes_and_gives(tmp_path: Path, words: Any) -> None:
    batch = torch.export.Dim("batch")
    given = (torch.from_numpy(TOKENS), torch.from_numpy(MASK))
    shapes = {"input_ids": {0: batch}, "attention_mask": {0: batch}}
    torch.export.save(torch.export.export(words, given, dynamic_shapes=shapes), str(tmp_path / "model.pt2"))
    model = loaded(tmp_path)
    assert [(each.datatype, each.shape) for each in model.inputs] == [("INT64", (-1, 5))] * 2
    assert [(each.datatype, each.shape) for each in model.outputs] == [("FP32", (-1, 3)), ("INT64", (-1, 5))]
    found = model.run(WORDS, ("output-0", "output-1"))
    assert np.array_equal(found["output-0"], words(*given)[0].float().detach().numpy())


def test_module_that_looks_words_up_takes_whole_numbers(tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text(CLASS)
    table = nn.Embedding(20, 4)
    torch.save({f"table.{name}": each for name, each in table.state_dict().items()}, tmp_path / "model.pt")
    model = loaded(tmp_path)
    assert [(each.name, each.datatype) for each in model.inputs] == [("input_ids", "INT64")]
    found = model.run({"input_ids": TOKENS}, ("output-0",))["output-0"]
    assert np.allclose(found, table(torch.from_numpy(TOKENS)).mean(1).detach().numpy())


@pytest.mark.parametrize(("kind", "says"), [("float64", "FP64"), ("float16", "FP16"), ("bfloat16", "FP32")])
@pytest.mark.parametrize("form", ["script", "export"])
def test_rows_are_turned_into_the_numbers_of_the_parameters(tmp_path: Path, kind: str, says: str, form: str) -> None:
    module = nn.Linear(4, 3).to(getattr(torch, kind)).eval()
    rows = torch.ones(2, 4, dtype=getattr(torch, kind))
    if form == "script":
        torch.jit.trace(module, rows).save(str(tmp_path / "model.pt"))
    else:
        torch.export.save(torch.export.export(module, (rows,)), str(tmp_path / "model.pt2"))
    model = loaded(tmp_path)
    (one,) = model.inputs
    assert one.datatype == says
    asked = np.ones((2, 4), dtype={"FP64": "f8", "FP16": "f2", "FP32": "f4"}[says])
    (found,) = model.run({one.name: asked}, ("output-0",)).values()
    assert np.allclose(found, module(rows).float().detach().numpy(), atol=1e-6)
    if form == "script":  # it does not say so itself: a caller's float32 will do
        (found,) = model.run({one.name: asked.astype(np.float32)}, ("output-0",)).values()
        assert found.shape == (2, 3)


def test_module_that_answers_a_dictionary_is_refused_by_name(tmp_path: Path) -> None:
    torch.jit.script(Named()).save(str(tmp_path / "model.pt"))
    with pytest.raises(FormatNotSupported, match="returns a dictionary; return a tensor or a tuple of tensors"):
        loaded(tmp_path)
