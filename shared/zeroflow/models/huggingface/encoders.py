"""Text models that read: classes of texts and of their tokens, words for a mask, vectors.

Answers are KServe's: the best class of each text; (1, tokens) classes for each text, padded as its neighbours are; the
words that take the place of a text's masks. With `return_probabilities` or `return_raw_logits` each class, or token id,
comes with its number instead, in an object in V1 and as the text of one in V2.

Source: kserve/kserve python/huggingfaceserver (encoder_model, its tests and documentation).
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from zeroflow.models.estimator import Tensor
from zeroflow.models.huggingface.task import Task
from zeroflow.models.tensormodel import EMBEDS, RANKS
from zeroflow.models.texts import json_of

if TYPE_CHECKING:
    import numpy as np

SCORES = (Tensor("predict", "BYTES", ()),)


class Scores(dict[str, Any]):
    """Numbers by class or token id; as text a Python literal whose keys are numbers, as in KServe's V2 answers."""

    def __str__(self) -> str:
        return "{" + ", ".join(f"{key}: {value!r}" for key, value in self.items()) + "}"


class _Scoring(Task):
    def _scored(self, logits: Any) -> Scores:
        """Return the numbers of one row's classes, as they are asked for."""
        if self._options.return_raw_logits:
            return Scores({str(at): value for at, value in enumerate(logits.tolist())})
        return Scores({str(at): round(value, 4) for at, value in enumerate(logits.softmax(-1).tolist())})


class Classifier(_Scoring):
    """Says of which class a text is."""

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        count = self._model.config.num_labels
        if count == 1:
            self.does = frozenset({RANKS})  # one score of a pair of texts: a cross-encoder
        self.outputs = (
            SCORES
            if self._options.scores
            else (
                Tensor("predict", "INT64", (-1,)),
                Tensor("predict_proba", "FP32", (-1, count)),
                Tensor("label", "BYTES", (-1,)),
            )
        )

    def run(self, given: Mapping[str, Any], wanted: tuple[str, ...]) -> "dict[str, np.ndarray[Any, Any]]":
        import numpy as np

        texts = self._texts(given)
        with self._torch.inference_mode():
            logits = self._model(**self._encoded(texts)).logits.float()
        if self._options.scores:
            return {"predict": nested([self._scored(row) for row in logits])}
        shares = logits.softmax(-1).cpu().numpy()
        best = shares.argmax(axis=1)
        labels = self._model.config.id2label
        found = {
            "predict": best,
            "predict_proba": shares,
            "label": np.array([labels[int(each)] for each in best], dtype=object),
        }
        return {name: found[name] for name in wanted}

    def rank(self, query: str, documents: Sequence[str]) -> "np.ndarray[Any, Any]":
        """Return the score of each pair, from 0 to 1, as sentence-transformers' cross-encoders do."""
        with self._torch.inference_mode():
            logits = self._model(**self._encoded([query] * len(documents), documents)).logits.float()
            found: np.ndarray[Any, Any] = logits[:, 0].sigmoid().cpu().numpy()
        return found


class TokenClassifier(_Scoring):
    """Says of which class each token of a text is."""

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        self.outputs = SCORES if self._options.scores else (Tensor("predict", "INT64", (-1, 1, -1)),)

    def run(self, given: Mapping[str, Any], wanted: tuple[str, ...]) -> "dict[str, np.ndarray[Any, Any]]":
        texts = self._texts(given)
        with self._torch.inference_mode():
            logits = self._model(**self._encoded(texts)).logits.float()
        if self._options.scores:
            return {"predict": nested([[self._scored(token) for token in row] for row in logits])}
        return {"predict": logits.argmax(-1).cpu().numpy()[:, None, :]}


class MaskFiller(Task):
    """Says which words take the place of a text's masks."""

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        self.outputs = SCORES if self._options.scores else (Tensor("predict", "BYTES", (-1,)),)

    def run(self, given: Mapping[str, Any], wanted: tuple[str, ...]) -> "dict[str, np.ndarray[Any, Any]]":
        texts = self._texts(given)
        encoded = self._encoded(texts)
        masked = encoded["input_ids"] == self._tokenizer.mask_token_id
        for text, masks in zip(texts, masked, strict=True):
            if not masks.any():
                mask = self._tokenizer.mask_token
                raise ValueError(f"the text {text[:80]!r} has no {mask}, the place of the word that is asked for")
        with self._torch.inference_mode():
            logits = self._model(**encoded).logits.float()
        rows = [row[masks].cpu() for row, masks in zip(logits, masked, strict=True)]
        found = [self._told(row) if self._options.scores else self._tokenizer.decode(row.argmax(-1)) for row in rows]
        return {"predict": nested(found)}

    def _told(self, masks: Any) -> list[list[Scores]]:
        """Return of each mask what each token of the vocabulary gets; probabilities are texts, as KServe has them."""
        if self._options.return_raw_logits:
            return [[Scores({str(at): value}) for at, value in enumerate(row.tolist())] for row in masks]
        shares = masks.softmax(-1)
        return [[Scores({str(at): f"{value:.4f}"}) for at, value in enumerate(row.tolist())] for row in shares]


class Embedder(Task):
    """Makes vectors of texts."""

    does = frozenset({EMBEDS, RANKS})

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        self.outputs = (Tensor("embedding", "FP32", (-1, int(self._model.config.hidden_size))),)
        pooling = self._place / "1_Pooling" / "config.json"
        self._first = pooling.is_file() and bool(json_of(pooling).get("pooling_mode_cls_token"))

    def run(self, given: Mapping[str, Any], wanted: tuple[str, ...]) -> "dict[str, np.ndarray[Any, Any]]":
        return {"embedding": self.embed(self._texts(given))}

    def embed(self, texts: Sequence[str]) -> "np.ndarray[Any, Any]":
        """Return unit vectors: the mean over a text's tokens, or its first token where the pooling config says so."""
        encoded = self._encoded(texts)
        with self._torch.inference_mode():
            hidden = self._model(**encoded).last_hidden_state.float()
            if self._first:
                pooled = hidden[:, 0]
            else:
                mask = encoded["attention_mask"].unsqueeze(-1).float()
                pooled = (hidden * mask).sum(1) / mask.sum(1).clamp(min=1)
            found: np.ndarray[Any, Any] = self._torch.nn.functional.normalize(pooled, dim=1).cpu().numpy()
        return found

    def rank(self, query: str, documents: Sequence[str]) -> "np.ndarray[Any, Any]":
        """Return the cosine of each document's vector and the query's."""
        vectors = self.embed([query, *documents])
        found: np.ndarray[Any, Any] = vectors[1:] @ vectors[0]
        return found


def nested(values: Sequence[Any]) -> "np.ndarray[Any, Any]":
    """Return values as an array of objects, with a dimension for each level of lists that are of equal length."""
    import numpy as np

    shape, level = [len(values)], list(values)
    while level and all(isinstance(each, list) for each in level) and len({len(each) for each in level}) == 1:
        shape.append(len(level[0]))
        level = [inner for each in level for inner in each]
    found = np.empty(len(level), dtype=object)
    found[:] = level
    return found.reshape(shape)
