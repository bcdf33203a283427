"""Which runtime is chosen for a model: KServe's rules, over KServe's own runtimes and ours."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from zeroflow.functions.inference.modelspec import Model, parse_model
from zeroflow.functions.inference.refusal import Refused
from zeroflow.functions.inference.runtimes import choose, own

CONFIG = Path(__file__).parents[2] / "knative" / "manifests" / "config"


@pytest.fixture(scope="module")
def installed() -> list[dict[str, Any]]:
    return [
        document
        for name in ("runtimes.yaml", "predictor.yaml")
        for document in yaml.safe_load_all((CONFIG / name).read_text())
    ]


def one(predictor: dict[str, Any], uri: str | None = "store://models/one") -> Model:
    """Return a predictor's model, at a location unless it has one."""
    found = parse_model(predictor)
    assert found is not None
    return replace(found, storage_uri=found.storage_uri or uri)


def chosen(
    predictor: dict[str, Any],
    of_cluster: list[dict[str, Any]],
    of_namespace: list[dict[str, Any]] | None = None,
    uri: str | None = "store://models/one",
) -> tuple[str, bool]:
    """Return the runtime of a predictor of one model, or of many without a location."""
    found = choose(one(predictor, uri), of_namespace or [], of_cluster)
    return found.name, found.is_own


def model(name: str, **fields: Any) -> dict[str, Any]:
    version = fields.pop("version", None)
    return {"model": {"modelFormat": {"name": name, **({"version": version} if version else {})}, **fields}}


@pytest.mark.parametrize(
    ("predictor", "expected"),
    [
        (model("sklearn"), ("zeroflow-predictor", True)),
        (model("sklearn", version="1.3"), ("zeroflow-predictor", True)),
        ({"xgboost": {}}, ("zeroflow-predictor", True)),
        (model("sklearn", runtime="kserve-sklearnserver"), ("kserve-sklearnserver", True)),
        (model("lightgbm", runtime="kserve-predictiveserver"), ("kserve-predictiveserver", True)),
        (model("sklearn", args=["--nthread=2"]), ("kserve-sklearnserver", False)),
        (model("sklearn", protocolVersion="v2", args=["--x"]), ("kserve-mlserver", False)),
        (model("sklearn", args=["--model_name", "mine", "--model_dir=/mnt/models"]), ("zeroflow-predictor", True)),
        (model("sklearn", args=["--model_dir=/elsewhere"]), ("kserve-sklearnserver", False)),
        (model("sklearn", args=["--model_name"]), ("kserve-sklearnserver", False)),
        (model("huggingface", args=["--model_name=llama3", "--model_id=a/b"]), ("zeroflow-predictor", True)),
        (model("huggingface", args=["--model_id=a/b", "--backend=vllm"]), ("kserve-huggingfaceserver", False)),
        ({"triton": {}}, ("zeroflow-predictor", True)),
        (model("triton"), ("zeroflow-predictor", True)),
        ({"triton": {"runtimeVersion": "23.05-py3"}}, ("kserve-tritonserver", False)),
        (
            model("triton", runtimeVersion="23.05-py3"),
            ("kserve-tritonserver", False),
        ),  # speaks v2, not KServe's default
        (model("huggingface", args=["--return_probabilities", "--task", "fill_mask"]), ("zeroflow-predictor", True)),
        (model("huggingface", args=["--tokenizer_revision=b"]), ("kserve-huggingfaceserver", False)),
        (model("huggingface", args=["--trust_remote_code"]), ("kserve-huggingfaceserver", False)),
        (model("sklearn", args=["--return_probabilities"]), ("kserve-sklearnserver", False)),
        (model("autogluon"), ("kserve-autogluonserver", False)),
    ],
    ids=str,
)
def test_runtime_is_chosen_as_kserve_chooses(installed: Any, predictor: Any, expected: tuple[str, bool]) -> None:
    assert chosen(predictor, installed) == expected


TUNED = ["--disable-token-auth", "--enable-model-api", "--workers=2"]


@pytest.mark.parametrize(
    ("predictor", "expected", "words"),
    [
        (
            model("sklearn", runtimeVersion="v0.15.0"),
            True,
            "sklearnserver:v0.15.0 cannot be run here; not heeded",
        ),
        (model("pytorch", args=TUNED), True, "not heeded: --disable-token-auth, --enable-model-api, --workers=2"),
        (model("huggingface", args=["--gpu-memory-utilization", "0.9", "--backend=vllm"]), True, "--backend=vllm"),
        (model("huggingface", args=["--quantization=awq"]), False, ""),
        (model("huggingface", args=["--trust_remote_code"]), False, ""),
        (model("tensorflow", image="tensorflow/serving:v1.14"), False, ""),
        (model("paddle", runtimeVersion="2"), False, ""),
        (model("sklearn"), True, ""),
    ],
    ids=["version", "torchserve", "vllm", "answers-depend", "runs-code", "image", "not-loaded", "nothing"],
)
def test_where_no_images_run_our_predictor_stands_in_and_says_so(
    installed: Any, predictor: Any, expected: bool, words: str
) -> None:
    found = choose(one(predictor), [], installed, lambda image: False)
    assert found.is_own is expected
    said = " ".join(found.adapted)
    assert words in said
    assert bool(said) == bool(words)


def test_an_image_that_is_mapped_is_run(installed: Any) -> None:
    seen = []
    found = choose(one(model("sklearn", runtimeVersion="v0.15.0")), [], installed, lambda image: not seen.append(image))
    assert (found.is_own, seen) == (False, ["kserve/sklearnserver:v0.15.0"])


def test_arguments_of_a_text_model_reach_our_predictor(cluster: Any) -> None:
    args = ["--model_id=a/b", "--return_probabilities", "--max_length", "64", "--dtype=half"]
    said = cluster.apply("told", model("huggingface", args=args))["status"]["conditions"]
    assert "ZEROFLOW_HF_MIRROR" in next(each["message"] for each in said if each["type"] == "Ready")
    uri = cluster.put("models/text/config.json", b'{"architectures": ["BertModel"]}', None).removesuffix("/config.json")
    cluster.apply("told", model("huggingface", args=args[1:], storageUri=uri))
    (container,) = cluster.service("told")["spec"]["template"]["spec"]["containers"]
    (told,) = [each["value"] for each in container["env"] if each["name"] == "ZEROFLOW_TEXT_OPTIONS"]
    assert json.loads(told) == {"return_probabilities": "true", "max_model_len": "64", "dtype": "half"}
    refused = cluster.apply("told", model("huggingface", args=["--task=poetry"], storageUri=uri))
    ready = next(each for each in refused["status"]["conditions"] if each["type"] == "Ready")
    assert "spec.predictor.model.args task must be one of" in ready["message"]


@pytest.mark.parametrize(
    ("said", "meant"),
    [("embed", "text_embedding"), ("score", "sequence_classification"), ("fill_mask", "fill_mask")],
)
def test_tasks_have_vllms_names_too(said: str, meant: str) -> None:
    found = parse_model(model("huggingface", args=["--model_name=it", f"--task={said}"]))
    assert found is not None
    assert found.arguments.options == {"task": meant}


def test_a_location_for_triton_is_a_repository_whatever_the_format(cluster: Any) -> None:
    cluster.put("models/repository/cifar10/1/model.onnx", b"graph", None)
    uri = "store://models/repository"
    cluster.apply("torch", model("pytorch", storageUri=uri, runtime="kserve-tritonserver", protocolVersion="v2"))
    (container,) = cluster.service("torch")["spec"]["template"]["spec"]["containers"]
    env = {each["name"]: each.get("value") for each in container["env"]}
    assert (env["MODEL_FORMAT"], env["ZEROFLOW_MULTI_MODEL"]) == ("triton", "true")


def test_kserves_own_server_fetches_a_model_of_the_hub_itself(cluster: Any) -> None:
    cluster.apply("awq", model("huggingface", args=["--model_id=a/b", "--quantization=awq"]))
    template = cluster.service("awq")["spec"]["template"]["spec"]
    assert template["containers"][0]["image"] == "kserve/huggingfaceserver:latest"
    assert "initContainers" not in template


def test_the_port_of_our_predictor_is_not_the_models_business(cluster: Any, constant: Any) -> None:
    uri = cluster.put("models/ports/model.joblib", constant(1))
    ports = [{"name": "grpc-port", "containerPort": 8081, "protocol": "TCP"}]
    cluster.apply("ports", model("sklearn", storageUri=uri, ports=ports))
    (container,) = cluster.service("ports")["spec"]["template"]["spec"]["containers"]
    assert container.get("ports", [{}])[0].get("containerPort") != 8081


def test_a_model_of_the_hub_is_named_by_an_argument_as_in_kserve() -> None:
    def uri(**fields: Any) -> str | None:
        found = parse_model(model("huggingface", **fields))
        assert found is not None
        return found.storage_uri

    assert uri(args=["--model_name=llama3", "--model_id=meta/llama"]) == "hf://meta/llama"
    assert uri(args=["--model_id=meta/llama", "--model_revision", "v2"]) == "hf://meta/llama:v2"
    assert uri(args=["--model_id=meta/llama"], storageUri="store://m/x") == "store://m/x"
    assert uri(args=["--model_name=llama3"]) is None


def test_a_models_name_is_what_an_argument_says(cluster: Any, constant: Any) -> None:
    uri = cluster.put("models/renamed/model.joblib", constant(1))
    cluster.apply("renamed", model("sklearn", storageUri=uri, args=["--model_name=mine"]))
    (container,) = cluster.service("renamed")["spec"]["template"]["spec"]["containers"]
    names = [each["value"] for each in container["env"] if each["name"] == "MODEL_NAME"]
    assert names == ["mine"]
    assert "--model_name=mine" not in container["args"]


def test_runtime_of_the_namespace_comes_first(installed: Any) -> None:
    mine = {
        "metadata": {"name": "mine", "namespace": "default"},
        "spec": {"supportedModelFormats": [{"name": "sklearn", "autoSelect": True}], "containers": []},
    }
    assert chosen(model("sklearn"), installed, [mine]) == ("mine", False)
    for switch in ("disabled", "multiModel"):
        off = {**mine, "spec": {**mine["spec"], switch: True}}
        assert chosen(model("sklearn"), installed, [off]) == ("zeroflow-predictor", True)
        with pytest.raises(Refused):
            chosen(model("sklearn", runtime="mine"), installed, [off])


def test_ours_are_what_their_manifests_say(installed: Any) -> None:
    declared = {runtime["metadata"]["name"]: runtime["spec"] for runtime in installed}
    assert declared["zeroflow-predictor"] == own()["spec"]
    assert declared["zeroflow-predictor-of-many"] == own(many=True)["spec"]
    assert chosen(model("onnx"), []) == ("zeroflow-predictor", True)
    assert chosen(model("onnx"), [], uri=None) == ("zeroflow-predictor-of-many", True)


def test_where_no_model_is_named_a_runtime_of_many_is_chosen(installed: Any) -> None:
    assert chosen({"sklearn": {}}, installed, uri=None) == ("zeroflow-predictor-of-many", True)
    assert chosen(model("sklearn"), installed, uri=None) == ("zeroflow-predictor-of-many", True)
    mine = {
        "metadata": {"name": "mine", "namespace": "default"},
        "spec": {
            "multiModel": True,
            "supportedModelFormats": [{"name": "sklearn", "autoSelect": True}],
            "containers": [],
        },
    }
    assert chosen(model("sklearn"), installed, [mine], uri=None) == ("mine", False)
    with pytest.raises(Refused, match="kserve-sklearnserver is for one model"):
        chosen(model("sklearn", runtime="kserve-sklearnserver"), installed, uri=None)
    with pytest.raises(Refused, match=r"zeroflow-predictor-of-many is for many models \(multiModel\)"):
        chosen(model("sklearn", runtime="zeroflow-predictor-of-many"), installed)


def test_every_runtime_of_the_contract_is_installed(installed: Any, contracts: Path) -> None:
    """Name, formats, protocols: as KServe's release has them."""
    ours = {runtime["metadata"]["name"]: runtime["spec"] for runtime in installed}
    for path in sorted((contracts / "kserve" / "runtimes").glob("*.yaml")):
        theirs = yaml.load(path.read_text(), yaml.CSafeLoader)
        spec = ours[theirs["metadata"]["name"]]
        for field in ("supportedModelFormats", "protocolVersions", "multiModel"):
            assert spec.get(field) == theirs["spec"].get(field), (path.name, field)
