"""A model that lives in one process only, as on a GPU, is not asked in a fork of it; one without memory says so."""

import os
from pathlib import Path
from typing import Any

import pytest

from zeroflow.functions.predictor.answers import Answers
from zeroflow.functions.predictor.errors import AnotherProcess, NoRoom
from zeroflow.functions.predictor.handler import EXIT_NO_MODEL, Application
from zeroflow.functions.predictor.models.repository import Repository
from zeroflow.functions.predictor.models.served import Served
from zeroflow.functions.predictor.predictor import Predictor
from zeroflow.functions.predictor.settings import PredictorSettings
from zeroflow.functions.predictor.telling.metrics import Metrics
from zeroflow.functions.predictor.telling.witness import Witness
from zeroflow.models.estimator import Tensor
from zeroflow.models.tensormodel import TensorModel


def model(only_in: int | None, run: Any = None) -> Served:
    one = Tensor("x", "FP32", (-1, 2)), Tensor("y", "FP32", (-1, 2))
    return Served("net", TensorModel("net", "0" * 64, "test", one[:1], one[1:], run, only_in=only_in))


def predictor(only_in: int | None) -> Predictor:
    settings = PredictorSettings.from_environment({"MODEL_NAME": "net", "STORAGE_URI": "store://models/net"})
    repository = Repository(lambda name: model(only_in), lambda: ["net"])
    repository.load("net")
    return Predictor(settings, repository, Metrics(), Witness.of(settings))


def test_process_that_did_not_load_a_model_which_lives_in_one_process_ends_and_says_why(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(AnotherProcess, match="start gunicorn without --preload"):
        predictor(os.getpid() + 1).join()
    with pytest.raises(SystemExit) as ended:
        Application(predictor(os.getpid() + 1)).begin()
    assert ended.value.code == EXIT_NO_MODEL
    assert "model net cannot be served: ModelLoadFailed: what is on a GPU" in capsys.readouterr().err


@pytest.mark.parametrize("here", [None, os.getpid()], ids=["any", "this"])
def test_process_that_can_ask_a_model_begins(here: int | None, tmp_path: Path) -> None:
    begun = Application(predictor(here))
    begun.begin()
    begun.wsgi_app.close()


def test_model_on_a_gpu_is_never_asked_on_the_event_loop() -> None:
    recorder = Metrics().recorder("net")
    assert Answers(model(None), recorder).may_be_quick
    assert not Answers(model(os.getpid()), recorder).may_be_quick  # one at a time, nothing would overlap


def test_model_without_memory_for_a_request_asks_to_come_again() -> None:
    def run(given: Any, wanted: Any) -> Any:
        raise MemoryError("the GPU has no room")

    with pytest.raises(NoRoom, match="send fewer rows, or try again"):
        model(None, run).run({}, ("y",))
