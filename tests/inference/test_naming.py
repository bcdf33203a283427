"""The name by which an InferenceService's model answers."""

from typing import Any

import pytest

from zeroflow.inference.naming import model_name, predict_path, predictor_name


def named(predictor: dict[str, Any], transformer: list[str] | None = None) -> tuple[str, str]:
    """Return the names of the predictor's model and of the whole service."""
    spec: dict[str, Any] = {"predictor": predictor}
    if transformer is not None:
        spec["transformer"] = {"containers": [{"image": "x", "args": transformer}]}
    isvc = {"metadata": {"name": "iris"}, "spec": spec}
    return predictor_name(isvc), model_name(isvc)


@pytest.mark.parametrize(
    ("args", "name"),
    [
        ([], "iris"),
        (["--model_name=mine"], "mine"),
        (["--model_name", "mine", "--workers=2"], "mine"),
        (["--model-name=mine"], "mine"),
        (["--model_name=one", "--model_name", "two"], "two"),
        (["--model_name"], "iris"),
        (["--model_name", "--workers"], "iris"),
        (["--my_model_name=mine"], "iris"),
        ("--model_name=mine", "iris"),
    ],
)
def test_argument_names_it_and_else_the_service(args: Any, name: str) -> None:
    assert named({"model": {"modelFormat": {"name": "sklearn"}, "args": args}}) == (name, name)
    assert named({"xgboost": {"args": args}}) == (name, name)
    assert named({"containers": [{"image": "x", "args": args}]}) == (name, name)


def test_transformer_answers_by_its_own_name_or_the_predictors() -> None:
    assert named({"sklearn": {"args": ["--model_name=mine"]}}, []) == ("mine", "mine")
    assert named({"sklearn": {"args": ["--model_name=mine"]}}, ["--model_name", "outer"]) == ("mine", "outer")
    assert named({"sklearn": {}}, ["--model_name=outer"]) == ("iris", "outer")


def test_path_is_the_protocols() -> None:
    assert predict_path("m", "v1") == "/v1/models/m:predict"
    assert predict_path("m", "v2") == predict_path("m", "grpc-v2") == "/v2/models/m/infer"


def test_transformer_is_told_the_name_of_the_predictors_model(cluster: Any, constant: Any) -> None:
    uri = cluster.put("models/told-name/model.joblib", constant(1))
    transformer = {"containers": [{"image": "x", "command": ["true"]}]}
    predictor = {"sklearn": {"storageUri": uri, "args": ["--model_name=mine"]}}
    cluster.apply("told-name", predictor, spec={"transformer": transformer})
    service = cluster.service("told-name")
    service["status"] = {"address": {"url": "http://told-name-predictor.default.svc.cluster.local"}}
    cluster.resources.write_status(service)
    cluster.tell(cluster.service("told-name"))
    made = cluster.resources.get("serving.knative.dev/v1", "Service", "default", "told-name-transformer")
    (container,) = made["spec"]["template"]["spec"]["containers"]
    assert container["args"][:2] == ["--model_name", "mine"]
