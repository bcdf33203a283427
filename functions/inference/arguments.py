"""What is said of a model by arguments of KServe's own servers, which our predictor stands in for.

Some mean the same to our predictor (names, the hub's model, how a text model answers). Some only tune the server that
they were written for, and no answer depends on them: TUNING, by name. With any other argument that very server is
meant.

Source: the command lines of kserve's model server and Hugging Face server, vLLM's engine arguments, TorchServe, Triton.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

NAMES = ("model_name", "model_id", "model_revision", "tokenizer_revision", "model_dir", "backend")
MODEL_DIR = "/mnt/models"
OWN_BACKENDS = ("auto", "huggingface")
FLAGS = ("disable_lower_case", "disable_special_tokens", "return_probabilities", "return_raw_logits")
OPTIONS = ("task", "max_model_len", "dtype", *FLAGS)
SYNONYMS = {
    "max_length": "max_model_len",
    "disable_postprocess": "return_raw_logits",
    "return_logits": "return_raw_logits",
}
"""Older names of KServe's documentation."""
TASKS = {
    "embed": "text_embedding",
    "embedding": "text_embedding",
    "score": "sequence_classification",
    "classify": "sequence_classification",
    "generate": "text_generation",
}
"""vLLM's names of tasks, which KServe's documentation takes for that backend."""
TUNING = frozenset(
    (
        *("workers", "max_threads", "max_asyncio_workers", "nthread", "http_port", "grpc_port", "enable_grpc"),
        *("enable_docs_url", "enable_latency_logging", "configure_logging", "log_config_file", "access_log_format"),
        *("disable_log_requests", "max_log_len", "return_token_type_ids"),  # up to here KServe's own servers
        *("gpu_memory_utilization", "tensor_parallel_size", "pipeline_parallel_size", "enforce_eager", "swap_space"),
        *("max_num_seqs", "max_num_batched_tokens", "block_size", "enable_prefix_caching", "enable_chunked_prefill"),
        *("cpu_offload_gb", "disable_log_stats", "distributed_executor_backend", "disable_custom_all_reduce"),  # vLLM
        *("disable_token_auth", "enable_model_api", "ncs"),  # TorchServe
        *("log_verbose", "log_info", "log_warning", "log_error", "exit_on_error", "strict_readiness"),
        *("strict_model_config", "allow_http", "allow_grpc", "allow_metrics", "metrics_port"),
        *("http_thread_count",),  # Triton
        *("rest_workers", "grpc_workers", "nireq", "file_system_poll_wait_seconds"),  # OpenVINO
    )
)


@dataclass(frozen=True)
class Arguments:
    """The arguments of a model's container, sorted by what they are to our predictor."""

    names: Mapping[str, str] = field(default_factory=dict)
    """NAMES that were given."""
    options: Mapping[str, str] = field(default_factory=dict)
    """OPTIONS that were given, for a text model; a flag is `true`."""
    tuning: tuple[str, ...] = ()
    """As they were written."""
    others: tuple[str, ...] = ()
    """As they were written: those that only the server itself understands."""

    @property
    def hub_uri(self) -> str | None:
        """The model of the hub that is named, as a location."""
        if "model_id" not in self.names:
            return None
        revision = self.names.get("model_revision")
        return f"hf://{self.names['model_id']}" + (f":{revision}" if revision else "")


def parse(args: Any, model_format: str) -> Arguments:
    """Sort the arguments of a model of some format."""
    names: dict[str, str] = {}
    options: dict[str, str] = {}
    tuning: list[str] = []
    others: list[str] = []
    for name, value, written in _words([str(word) for word in args or ()]):
        if name in NAMES and value is not None and _is_own(name, value):
            names[name] = value
        elif name in OPTIONS and model_format == "huggingface" and (value is None) == (name in FLAGS):
            options[name] = TASKS.get(value or "", value or "true") if name == "task" else value or "true"
        elif name in TUNING or (name == "backend" and value == "vllm"):
            tuning.append(written)
        else:
            others.append(written)
    revision = names.get("tokenizer_revision")
    if revision is not None and revision != names.get("model_revision"):
        others.append(f"--tokenizer_revision={revision}")
    return Arguments(names, options, tuple(tuning), tuple(others))


def _is_own(name: str, value: str) -> bool:
    return {"model_dir": value == MODEL_DIR, "backend": value in OWN_BACKENDS}.get(name, True)


def _words(words: list[str]) -> Iterator[tuple[str, str | None, str]]:
    """Yield each argument's name in the form of NAMES, its value, and how it was written."""
    while words:
        word = words.pop(0)
        name, equals, value = word.partition("=")
        if not equals and words and not words[0].startswith("-"):
            value = words.pop(0)
            yield _named(name), value, f"{word} {value}"
        else:
            yield _named(name), value if equals else None, word


def _named(name: str) -> str:
    found = name.removeprefix("--").replace("-", "_") if name.startswith("--") else name
    return SYNONYMS.get(found, found)
