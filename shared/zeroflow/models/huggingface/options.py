"""What may be said of how a text model is served: the arguments of KServe's Hugging Face server that change answers.

Source: kserve/kserve python/huggingfaceserver (command line), names without the dashes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from zeroflow.errors import InvalidInput

CLASSIFIES, LABELS_TOKENS, FILLS = "sequence_classification", "token_classification", "fill_mask"
EMBEDS_TEXT, GENERATES, TRANSLATES = "text_embedding", "text_generation", "text2text_generation"
TASKS = (CLASSIFIES, LABELS_TOKENS, FILLS, EMBEDS_TEXT, GENERATES, TRANSLATES)
SCORED = (CLASSIFIES, LABELS_TOKENS, FILLS)
"""Tasks whose answers may be scores instead of the best one."""
DTYPES = {"auto": None, "float32": "float32", "float": "float32", "float16": "float16", "half": "float16"} | {
    "bfloat16": "bfloat16"
}


@dataclass(frozen=True)
class TextOptions:
    """How a text model is served, where somebody says so."""

    task: str | None = None
    """One of TASKS; None: what the architecture is made for."""
    max_model_len: int | None = None
    """Tokens that the model is given at most; None: as many as its positions."""
    dtype: str = "auto"
    """One of DTYPES; auto: as the weights were saved."""
    disable_lower_case: bool = False
    """Keep capitals, whatever the tokenizer's config says."""
    disable_special_tokens: bool = False
    """Put no [CLS] and [SEP] around a text."""
    return_probabilities: bool = False
    """Answer each class with its probability, to four decimals."""
    return_raw_logits: bool = False
    """Answer each class with its logit."""

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> "TextOptions":
        """Read options by name; texts stand for numbers, "true" for a flag. Raise InvalidInput naming the fault."""
        kinds = {field.name: field.type for field in fields(cls)}
        read: dict[str, Any] = {}
        for name, value in given.items():
            if name not in kinds:
                raise InvalidInput(f"{name!r} is no option of a text model; known are {', '.join(kinds)}")
            read[name] = _read(name, kinds[name], value)
        found = cls(**read)
        if found.task is not None and found.task not in TASKS:
            raise InvalidInput(f"task must be one of {', '.join(TASKS)}, got {found.task!r}")
        if found.dtype not in DTYPES:
            raise InvalidInput(f"dtype must be one of {', '.join(DTYPES)}, got {found.dtype!r}")
        if found.return_probabilities and found.return_raw_logits:
            raise InvalidInput("return_probabilities and return_raw_logits exclude each other")
        return found

    @property
    def scores(self) -> bool:
        """Whether scores are wanted instead of the best answer."""
        return self.return_probabilities or self.return_raw_logits


AS_IT_IS = TextOptions()
"""Nothing is said: a model is served as its own files say."""


def _read(name: str, kind: object, value: Any) -> Any:
    if kind is bool or kind == "bool":
        if str(value).lower() not in ("true", "false"):
            raise InvalidInput(f"{name} must be true or false, got {value!r}")
        return str(value).lower() == "true"
    if name == "max_model_len":
        if not str(value).isdecimal() or not int(value):
            raise InvalidInput(f"{name} must be a positive number, got {value!r}")
        return int(value)
    return str(value)
