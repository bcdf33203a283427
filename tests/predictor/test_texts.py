"""Tasks of text models beyond completion, and the arguments that change their answers: shapes as KServe's server has.

Models are tiny and random, made from a config; expected numbers come from transformers itself.
"""

import ast
import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from zeroflow.errors import ZeroflowError
from zeroflow.models.huggingface.options import TextOptions

pytestmark = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("torch", "transformers")),
    reason="transformers is not installed",
)
WORDS = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "the",
    "capital",
    "of",
    "france",
    "is",
    "paris",
    "my",
    "dog",
    "cute",
]
TEXTS = ["my dog is cute", "paris"]
MASKED = ["the capital of [MASK] is paris", "the [MASK] of france is [MASK]"]


@pytest.fixture(scope="module")
def models(launcher: Any) -> Path:
    """Write a model of each task below store://models/texts."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import (
        BertConfig,
        BertForMaskedLM,
        BertForSequenceClassification,
        BertForTokenClassification,
        PreTrainedTokenizerFast,
        T5Config,
        T5ForConditionalGeneration,
    )

    torch.manual_seed(5)
    inner = Tokenizer(models.WordLevel({word: at for at, word in enumerate(WORDS)}, unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    inner.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, **{f"{key}_token": name for key, name in names.items()})
    size = {"num_hidden_layers": 1, "num_attention_heads": 2, "hidden_size": 8, "intermediate_size": 8}
    size |= {"vocab_size": len(WORDS), "max_position_embeddings": 32}
    t5 = {"vocab_size": len(WORDS), "pad_token_id": 0, "eos_token_id": 3}
    t5 |= {"d_model": 8, "d_kv": 4, "d_ff": 8, "num_layers": 1, "num_heads": 2, "decoder_start_token_id": 0}
    place = launcher.store / "models" / "texts"
    for name, model in (
        ("classes", BertForSequenceClassification(BertConfig(**size, num_labels=3))),
        ("tokens", BertForTokenClassification(BertConfig(**size, num_labels=4))),
        ("masks", BertForMaskedLM(BertConfig(**size))),
        ("translates", T5ForConditionalGeneration(T5Config(**t5))),
    ):
        model.save_pretrained(place / name)
        tokenizer.save_pretrained(place / name)
    return Path(place)


@pytest.fixture(scope="module")
def served(launcher: Any, models: Path, wait: Any) -> Any:
    """Start a predictor of all of them, as they are."""
    predictor = launcher.start("store://models/texts", ZEROFLOW_MULTI_MODEL="true")
    wait(predictor)
    return predictor


@pytest.fixture(scope="module")
def probable(launcher: Any, models: Path, wait: Any) -> Any:
    """Start a predictor that tells probabilities; a model of a task that has none is left out."""
    options = json.dumps({"return_probabilities": "true"})
    predictor = launcher.start("store://models/texts", ZEROFLOW_MULTI_MODEL="true", ZEROFLOW_TEXT_OPTIONS=options)
    wait(predictor)
    return predictor


def asked(place: Path, texts: list[str], **options: Any) -> Any:
    """Return what a model that is loaded with some options answers."""
    from zeroflow.models.huggingface.reading import read

    model = read(place / "config.json", "", TextOptions.of(options))
    name = model.outputs[0].name
    return model.run({"text": np.array(texts, dtype=object)}, (name,))[name]


def logits(place: Path, texts: list[str], **said: Any) -> Any:
    import torch
    import transformers

    (architecture,) = json.loads((place / "config.json").read_text())["architectures"]
    model = getattr(transformers, architecture).from_pretrained(place).eval()
    encoded = transformers.AutoTokenizer.from_pretrained(place)(texts, padding=True, return_tensors="pt", **said)
    with torch.inference_mode():
        return encoded["input_ids"].numpy(), model(**encoded).logits.float().numpy()


def v2(predictor: Any, texts: list[str], name: str) -> Any:
    tensor = {"name": "input-0", "shape": [len(texts)], "datatype": "BYTES", "data": texts}
    return predictor.infer({"inputs": [tensor]}, model=name).json()["outputs"][0]


def test_each_token_gets_a_class(served: Any, models: Path) -> None:
    _, found = logits(models / "tokens", TEXTS)
    expected = found.argmax(-1)
    told = served.predict({"instances": TEXTS}, model="tokens").json()
    assert told == {"predictions": [[row] for row in expected.tolist()]}
    output = v2(served, TEXTS, "tokens")
    assert (output["datatype"], output["shape"]) == ("INT64", [2, 1, expected.shape[1]])
    assert output["data"] == expected.reshape(-1).tolist()


@pytest.mark.parametrize("shape", [[], [1], [1, 1]], ids=str)
def test_a_text_has_the_shape_that_clients_give_it(served: Any, shape: list[int]) -> None:
    tensor = {"name": "input-0", "shape": shape, "datatype": "BYTES", "data": ["paris"]}
    assert served.infer({"inputs": [tensor]}, model="classes").json()["outputs"][0]["shape"] == [1]
    pairs = {"name": "input-0", "shape": [1, 2], "datatype": "BYTES", "data": ["paris", "dog"]}
    refused = served.infer({"inputs": [pairs]}, model="classes")
    assert (refused.status, "texts of shape [n] or [n, 1], got [1, 2]" in refused.error) == (400, True)


def test_masks_are_filled(served: Any, models: Path) -> None:
    ids, found = logits(models / "masks", MASKED)
    best = [[WORDS[at] for at in row[mask].argmax(-1)] for row, mask in zip(found, ids == 4, strict=True)]
    expected = [" ".join(each) for each in best]
    assert [len(each) for each in best] == [1, 2]
    assert served.predict({"instances": MASKED}, model="masks").json() == {"predictions": expected}
    output = v2(served, MASKED, "masks")
    assert (output["datatype"], output["shape"], output["data"]) == ("BYTES", [2], expected)
    refused = served.predict({"instances": ["paris"]}, model="masks")
    assert (refused.status, "the text 'paris' has no [MASK]" in refused.error) == (400, True)


def test_probabilities_come_by_class(probable: Any, models: Path) -> None:
    _, found = logits(models / "classes", TEXTS)
    shares = np.exp(found) / np.exp(found).sum(-1, keepdims=True)
    expected = [{str(at): float(value) for at, value in enumerate(row)} for row in shares]
    told = probable.predict({"instances": TEXTS}, model="classes").json()["predictions"]
    assert told == [pytest.approx(row, abs=1e-4) for row in expected]
    output = v2(probable, TEXTS, "classes")
    assert (output["name"], output["datatype"], output["shape"]) == ("predict", "BYTES", [2])
    assert list(ast.literal_eval(output["data"][0])) == [0, 1, 2]  # as KServe's documentation reads it


def test_probabilities_come_by_token_too(probable: Any, models: Path) -> None:
    _, found = logits(models / "tokens", TEXTS)
    output = v2(probable, TEXTS, "tokens")
    assert output["shape"] == [2, found.shape[1]]
    assert sum(ast.literal_eval(output["data"][0]).values()) == pytest.approx(1, abs=1e-3)
    masks = probable.predict({"instances": MASKED}, model="masks").json()["predictions"]
    assert [len(each) for each in masks] == [1, 2]
    assert len(masks[0][0]) == len(WORDS)  # an object for each token of the vocabulary, as KServe has them
    assert sum(float(share) for each in masks[0][0] for share in each.values()) == pytest.approx(1, abs=1e-2)
    index = {each["name"]: each["reason"] for each in probable.send("POST", "/v2/repository/index", {}).json()}
    assert "a model of text2text_generation answers no scores" in index["translates"]


def test_arguments_are_heeded(models: Path) -> None:
    _, found = logits(models / "classes", TEXTS)
    told = asked(models / "classes", TEXTS, return_raw_logits=True)
    assert [list(row.values()) for row in told] == [pytest.approx(row, abs=1e-5) for row in found.tolist()]
    _, bare = logits(models / "tokens", TEXTS[:1], add_special_tokens=False)
    assert bare.shape[1] == 4  # my dog is cute
    assert asked(models / "tokens", TEXTS[:1], disable_special_tokens="true").tolist() == [bare.argmax(-1).tolist()]
    assert asked(models / "tokens", TEXTS[:1], max_model_len="3").shape == (1, 1, 3)
    assert asked(models / "masks", TEXTS, task="text_embedding", dtype="float32").shape == (2, 8)


def test_no_task_is_answered_by_weights_that_nobody_trained(models: Path) -> None:
    with pytest.raises(ZeroflowError, match="the weights have nothing for token_classification: classifier"):
        asked(models / "masks", TEXTS, task="token_classification")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"task": "poetry"}, "task must be one of sequence_classification"),
        ({"color": "red"}, "'color' is no option of a text model"),
        ({"return_probabilities": "maybe"}, "return_probabilities must be true or false, got 'maybe'"),
        ({"max_model_len": "-1"}, "max_model_len must be a positive number"),
        ({"dtype": "int4"}, "dtype must be one of auto"),
        ({"return_probabilities": True, "return_raw_logits": True}, "exclude each other"),
    ],
    ids=["task", "unknown", "flag", "number", "dtype", "both"],
)
def test_what_makes_no_sense_is_said(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ZeroflowError, match=words):
        TextOptions.of(options)
