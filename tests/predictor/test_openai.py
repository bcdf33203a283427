"""OpenAI's API beyond plain text: tools, log-probabilities, penalties, ranking; and what is refused, by name."""

import importlib.util
import itertools
import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from zeroflow.functions.predictor.openai import toolcalls

CLIENTS = Path(__file__).parent / "clients"
has_text = all(importlib.util.find_spec(name) is not None for name in ("torch", "transformers"))
needs_text = pytest.mark.skipif(not has_text, reason="transformers is not installed")
WORDS = ["<pad>", "<unk>", "<end>", "the", "cat", "sat", "on", "a", "mat", "good", "bad"]
CALL = ["<tool_call>", '{"name":', '"weather",', '"arguments":', '{"city":', '"Bonn"}}', "</tool_call>", "<end>"]
CHAINS = (["<assistant>", "wait", *CALL], ["<after>", "sunny", "<end>"], ["<plain>", "no", "<end>"])
TEMPLATE = (
    "{% if tools %}{{ tools | length }} <tool_call> {% endif %}"
    "{% for each in messages %}{{ each.role }} {{ each.content }} "
    "{% for call in each.tool_calls or [] %}{{ call.function.arguments.city }} {% endfor %}{% endfor %}"
    "{% if messages[-1].role == 'tool' %}<after>{% elif tools %}<assistant>{% else %}<plain>{% endif %}"
)


def tokenizer_of(words: list[str]) -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(models.WordLevel({word: at for at, word in enumerate(words)}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="<pad>", unk_token="<unk>", eos_token="<end>")


def write_caller(place: Path) -> None:
    """A model without layers: each token's embedding is its own axis, and the head knows which token comes next."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    words = list(dict.fromkeys(["<pad>", "<unk>", "<end>", *(word for chain in CHAINS for word in chain)]))
    config = GPT2Config(
        vocab_size=len(words),
        n_embd=len(words),
        n_layer=0,
        n_head=1,
        n_positions=64,
        eos_token_id=2,
        bos_token_id=2,
        tie_word_embeddings=False,
    )
    model = GPT2LMHeadModel(config)
    with torch.no_grad():
        model.transformer.wte.weight.copy_(torch.eye(len(words)))
        model.transformer.wpe.weight.zero_()
        model.lm_head.weight.zero_()
        for chain in CHAINS:
            for word, following in itertools.pairwise(chain):
                model.lm_head.weight[words.index(following), words.index(word)] = 1.0
    tokenizer = tokenizer_of(words)
    tokenizer.chat_template = TEMPLATE
    model.save_pretrained(place)
    tokenizer.save_pretrained(place)


@pytest.fixture(scope="module")
def root(launcher: Any) -> Path:
    from transformers import BertConfig, BertForSequenceClassification, BertModel, GPT2Config, GPT2LMHeadModel

    place: Path = launcher.store / "models" / "openai"
    write_caller(place / "caller")
    size = {"vocab_size": len(WORDS)}
    gpt = GPT2Config(**size, n_embd=8, n_layer=1, n_head=2, n_positions=64, eos_token_id=2, bos_token_id=2)
    bert = {**size, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    for name, model in (
        ("writer", GPT2LMHeadModel(gpt)),
        ("ranker", BertForSequenceClassification(BertConfig(**bert, num_labels=1))),
        ("embedder", BertModel(BertConfig(**bert))),
    ):
        model.save_pretrained(place / name)
        tokenizer_of(WORDS).save_pretrained(place / name)
    return place


@pytest.fixture(scope="module")
def served(launcher: Any, root: Path, wait: Any) -> Any:
    predictor = launcher.start("store://models/openai", ZEROFLOW_MULTI_MODEL="true")
    wait(predictor)
    return predictor


@pytest.fixture(scope="module")
def found(served: Any, clients_python: str) -> Any:
    done = subprocess.run(
        [clients_python, str(CLIENTS / "openai_chat.py"), served.url], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@needs_text
def test_tools_are_called_and_answered(found: Any) -> None:
    assert found["call"] == ["tool_calls", "wait", {"name": "weather", "arguments": '{"city": "Bonn"}'}]
    assert found["streamed"] == ["weather", '{"city": "Bonn"}', "tool_calls"]
    assert found["streamed_text"].strip() == "wait"
    assert found["answered"] == ["sunny", "stop"]
    assert found["plain"] == ["no", None]


@needs_text
def test_logprobs_are_the_models_own_after_penalties(found: Any, root: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(root / "writer").eval()
    ids, made, shares, tops = [3, 4], [], [], []
    for _ in range(6):
        logits = model(torch.tensor([ids])).logits[0, -1].detach().clone()
        logits[:3] -= 100
        for token in set(made):
            logits[token] -= 0.5 * made.count(token) + 0.25
        logs = logits.log_softmax(-1)
        made.append(int(logits.argmax()))
        ids.append(made[-1])
        shares.append(float(logs[made[-1]]))
        tops.append({float(each) for each in logs.topk(2).values})
    told = found["told"]
    assert told["token_logprobs"] == pytest.approx(shares, abs=1e-4)
    assert [token.strip() for token in told["tokens"]] == [WORDS[token] for token in made]
    assert "".join(told["tokens"]) == told["text"]
    assert told["text_offset"] == [len("".join(told["tokens"][:at])) for at in range(len(told["tokens"]))]
    for each, top in zip(told["top_logprobs"], tops, strict=True):
        assert sorted(each.values()) == pytest.approx(sorted(top), abs=1e-4)


@needs_text
def test_logprobs_of_a_stream_are_those_of_the_whole(found: Any) -> None:
    assert len(found["chatted"]) == 5
    assert found["flowing"] == found["chatted"]
    assert set(found["chatted_tops"]) == {3}
    assert all(bytes(each[2]).decode() == each[0] for each in found["chatted"])


@needs_text
def test_bias_seed_and_top_p_choose_tokens(found: Any) -> None:
    assert found["biased"] == "mat mat mat"
    first, again = found["several"]
    assert first == again
    assert len(set(first)) > 1  # each choice has a seed of its own
    assert found["narrow"][0] == found["narrow"][1]
    assert all(found["usage"])


@needs_text
@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("strict", "tools[0].function.strict is kept where tool_choice requires a call; leave it out"),
        ("nameless", 'tools[0] must be {"type": "function", "function": {"name": ...}}'),
        ("toolless model", "tools need a model whose chat template knows them and writes calls as <tool_call>"),
        ("top without logprobs", "top_logprobs needs logprobs to be true"),
        ("too many", "top_logprobs must be a whole number from 0 to 20, got 21"),
        ("bias", "logit_bias['99999'] is 1, expected a token id below 16 and a number from -100 to 100"),
        ("store", "store is not supported; leave it out"),
        ("unknown", "'top_k' is no parameter of this request; leave it out"),
        ("usage without stream", "stream_options needs stream to be true"),
        ("image", "messages[0] must have a role and a content of text"),
        ("arguments", "messages[0].tool_calls[0].function must have a name and arguments that are JSON"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(found: Any, case: str, message: str) -> None:
    assert found["refused"][case] == message


@needs_text
def test_documents_are_ranked(served: Any, root: Path) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    model = AutoModelForSequenceClassification.from_pretrained(root / "ranker").eval()
    tokenizer = AutoTokenizer.from_pretrained(root / "ranker")
    documents = ["the cat sat", "bad", "a mat on the mat"]
    pairs = tokenizer(["the cat"] * 3, documents, padding=True, return_tensors="pt")
    expected = model(**pairs).logits[:, 0].sigmoid().detach().numpy()
    asked = {"model": "ranker", "query": "the cat", "documents": documents}
    answer = served.send("POST", "/openai/v1/rerank", asked).json()
    order = [each["index"] for each in answer["results"]]
    assert order == np.argsort(-expected).tolist()
    assert [each["relevance_score"] for each in answer["results"]] == pytest.approx(expected[order].tolist(), abs=1e-5)
    assert answer["results"][0]["document"] == {"text": documents[order[0]]}
    assert answer["usage"] == {"prompt_tokens": 3 * 2 + 9, "total_tokens": 15}
    top = served.send("POST", "/openai/v1/rerank", {**asked, "top_n": 1}).json()["results"]
    assert [each["index"] for each in top] == order[:1]
    cosine = served.send("POST", "/openai/v1/rerank", {**asked, "model": "embedder", "documents": ["the cat", "bad"]})
    best = cosine.json()["results"][0]
    assert (best["index"], best["relevance_score"]) == (0, pytest.approx(1.0, abs=1e-5))
    for body, text in (
        ({**asked, "query": 3}, "query must be a text"),
        ({**asked, "documents": []}, "documents must be a text or a list of texts, none of them empty"),
        ({**asked, "model": "writer"}, "model writer is not one that ranks text"),
        ({**asked, "max_chunks_per_doc": 3}, "'max_chunks_per_doc' is no parameter of this request; leave it out"),
    ):
        refused = served.send("POST", "/openai/v1/rerank", body)
        assert (refused.status, refused.json()["error"]["message"]) == (501 if "ranks" in text else 400, text)


def test_calls_are_read_and_what_is_none_stays_text() -> None:
    text = 'so <tool_call>\n{"name": "f", "arguments": {"a": {"b": 1}}}\n</tool_call>\n'
    text += '<tool_call>{"name": "g"}</tool_call>'
    rest, calls = toolcalls.read(text)
    assert rest == "so"
    assert [call["function"] for call in calls] == [
        {"name": "f", "arguments": '{"a": {"b": 1}}'},
        {"name": "g", "arguments": "{}"},
    ]
    for broken in (
        "<tool_call>{</tool_call>",
        '<tool_call>{"name": 3}</tool_call>',
        '<tool_call>{"name": "f"}',
        "a < b",
    ):
        assert toolcalls.read(broken) == (broken, [])
    endless = "<tool_call>{" * 200_000
    assert toolcalls.read(endless) == (endless, [])  # a model may write anything: this must not take minutes
    nested = f"<tool_call>{'[' * 100_000}</tool_call>"
    assert toolcalls.read(nested) == (nested, [])
    assert [toolcalls.said_before(part) for part in ("abc", "abc <to", "abc <tool_call>{", "a < b")] == [3, 4, 4, 5]
