"""OpenAI's API, answers of a form that is asked for: JSON schemas and calls that are required, by OpenAI's client."""

import importlib.util
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

CLIENTS = Path(__file__).parent / "clients"
has_forms = all(importlib.util.find_spec(name) is not None for name in ("torch", "transformers", "llguidance"))
pytestmark = pytest.mark.skipif(not has_forms, reason="transformers or llguidance is not installed")
TEMPLATE = (
    "{% for each in messages %}{{ each.role }}: {{ each.content }}\n{% endfor %}"
    "{% if tools %}{{ tools | tojson }} as <tool_call> {% endif %}assistant:"
)


def write_speller(place: Path) -> None:
    """A model of letters that has learnt nothing: whatever makes sense in what it writes, the form has made."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    words = ["<end>", "<pad>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    inner = Tokenizer(models.BPE({word: at for at, word in enumerate(words)}, []))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<end>", pad_token="<pad>")
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(place)
    torch.manual_seed(4)
    size = {"vocab_size": len(words) + 6, "n_embd": 8, "n_layer": 1, "n_head": 2, "n_positions": 1024}
    GPT2LMHeadModel(GPT2Config(**size, eos_token_id=0, bos_token_id=0)).save_pretrained(place)


def write_writer(place: Path) -> None:
    """A model of whole words, whose tokenizer no form can be made with."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    inner = Tokenizer(models.WordLevel({"<end>": 0, "<unk>": 1, "cat": 2}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="<unk>", eos_token="<end>").save_pretrained(place)
    size = {"vocab_size": 3, "n_embd": 8, "n_layer": 1, "n_head": 2, "n_positions": 512}
    GPT2LMHeadModel(GPT2Config(**size, eos_token_id=0, bos_token_id=0)).save_pretrained(place)


@pytest.fixture(scope="module")
def found(launcher: Any, wait: Any, clients_python: str) -> Any:
    place: Path = launcher.store / "models" / "forms"
    write_speller(place / "speller")
    write_writer(place / "writer")
    predictor = launcher.start("store://models/forms", ZEROFLOW_MULTI_MODEL="true")
    wait(predictor)
    command = [clients_python, str(CLIENTS / "openai_forms.py"), predictor.url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_answers_fit_their_schema(found: Any) -> None:
    for plan in found["parsed"]:
        assert plan["kind"] in ("short", "long")
        assert len(plan["steps"]) in (1, 2)
        assert all(type(step["done"]) is bool and len(step["name"]) <= 5 for step in plan["steps"])
    assert found["free"][0] == "{"
    assert found["shares"] == 3


def test_calls_that_are_required_are_made_and_fit(found: Any) -> None:
    assert {name for _, _, name, _ in found["required"]} == {"weather", "wait"}
    for reason, content, name, arguments in [*found["required"], found["named"]]:
        assert (reason, content) == ("tool_calls", None)
        if name == "wait":
            assert arguments == {}
        else:
            assert arguments["city"] in ("Bonn", "Köln")
            assert arguments["days"] in range(1, 10)
    assert found["named"][2] == "weather"
    ((name, arguments),) = found["streamed"]
    assert name == "weather"
    assert set(arguments) == {"city", "days"}
    assert found["streamed_end"] == "tool_calls"


def test_what_cannot_be_followed_is_refused_by_name(found: Any) -> None:
    refused = found["refused"]
    assert refused["schema"] == "the schema cannot be followed: Invalid type: nonsense"
    assert "cannot be followed" in refused["deep"] or "nested" in refused["deep"], refused["deep"]
    assert refused["kind"] == "response_format.type must be text, json_object or json_schema"
    assert refused["both"] == "response_format and a required call exclude each other; leave one out"
    assert refused["unknown"] == "tool_choice names 'fly', which is none of the tools"
    assert refused["none"] == "tool_choice is required, but there are no tools"
    assert refused["auto"].startswith("tools[0].function.strict is kept where tool_choice requires a call")
    assert refused["words"].startswith("texts of a form cannot be made with this model's tokenizer")
