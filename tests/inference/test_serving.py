"""From a declared InferenceService to answers of running predictors: rollout, canary, promotion, rollback, failure."""

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

Object = dict[str, Any]


def sklearn(uri: str, **fields: Any) -> Object:
    return {"model": {"modelFormat": {"name": "sklearn"}, "storageUri": uri}, **fields}


def is_ready(isvc: Object) -> bool:
    return condition(isvc, "Ready")["status"] == "True"


def condition(isvc: Object, kind: str) -> Object:
    found = (isvc.get("status") or {}).get("conditions") or []
    return next((each for each in found if each["type"] == kind), {"status": "Missing"})


def component(isvc: Object) -> Object:
    return isvc["status"].get("components", {}).get("predictor", {})


def served_since(generation: int) -> Callable[[Object], bool]:
    return lambda isvc: isvc["status"].get("observedGeneration", 0) >= generation and is_ready(isvc)


def shares(isvc: Object) -> dict[str, int]:
    return {target["revisionName"]: target["percent"] for target in component(isvc)["traffic"]}


def test_canary_is_rolled_out_promoted_and_taken_back(running: Any, constant: Callable[[int], Any]) -> None:
    one, two = (running.put(f"models/canary/{n}/model.joblib", constant(n)) for n in (1, 2))
    running.apply("canary", sklearn(one))
    isvc = running.settle("canary", is_ready)
    first = component(isvc)["latestRolledoutRevision"]
    assert isvc["status"]["modelStatus"]["transitionStatus"] == "UpToDate"
    assert isvc["status"]["url"]
    assert set(running.predict(isvc["status"]["url"], "canary", 5)) == {(1, first)}

    running.apply("canary", sklearn(two, canaryTrafficPercent=20))
    isvc = running.settle("canary", lambda found: len(component(found).get("traffic", [])) == 2 and is_ready(found))
    second = component(isvc)["latestReadyRevision"]
    assert (component(isvc)["latestRolledoutRevision"], shares(isvc)) == (first, {second: 20, first: 80})
    seen = running.predict(isvc["status"]["url"], "canary", 400)
    assert set(seen) == {(1, first), (2, second)}
    assert 44 <= seen[2, second] <= 124  # 80 expected; 4.5 standard deviations of a binomial on both sides

    running.apply("canary", sklearn(two))
    isvc = running.settle("canary", lambda found: component(found).get("latestRolledoutRevision") == second)
    assert (shares(isvc), component(isvc)["previousRolledoutRevision"]) == ({second: 100}, first)
    assert set(running.predict(isvc["status"]["url"], "canary", 5)) == {(2, second)}

    running.apply("canary", sklearn(two, canaryTrafficPercent=0))
    isvc = running.settle("canary", lambda found: shares(found).get(first) == 100)
    assert set(running.predict(isvc["status"]["url"], "canary", 5)) == {(1, first)}


def test_tags_reach_each_version_by_itself(running: Any, constant: Callable[[int], Any]) -> None:
    one, two = (running.put(f"models/tags/{n}/model.joblib", constant(n)) for n in (1, 2))
    tagged = {"serving.kserve.io/enable-tag-routing": "true"}
    running.apply("tags", sklearn(one), tagged)
    running.settle("tags", is_ready)
    running.apply("tags", sklearn(two, canaryTrafficPercent=10), tagged)
    isvc = running.settle("tags", lambda found: len(component(found).get("traffic", [])) == 2 and is_ready(found))
    urls = {target["tag"]: target["url"] for target in component(isvc)["traffic"]}
    assert {answer for answer, _ in running.predict(urls["latest"], "tags", 3)} == {2}
    assert {answer for answer, _ in running.predict(urls["prev"], "tags", 3)} == {1}


def test_failed_model_leaves_the_old_one_serving_and_says_why(running: Any, constant: Callable[[int], Any]) -> None:
    running.apply("blocked", sklearn(running.put("models/blocked/1/model.joblib", constant(1))))
    first = running.settle("blocked", is_ready)
    cut = pickle.dumps(constant(2))[:200]
    running.apply("blocked", sklearn(running.put("models/blocked/2/model.joblib", cut)))
    isvc = running.settle("blocked", lambda found: condition(found, "Ready")["status"] == "False")
    model = isvc["status"]["modelStatus"]
    assert model["transitionStatus"] == "BlockedByFailedLoad"
    assert model["states"] == {"activeModelState": "Loaded", "targetModelState": "FailedToLoad"}
    assert model["lastFailureInfo"]["reason"] == "ModelLoadFailed"
    assert model["lastFailureInfo"]["message"].startswith(
        "model blocked cannot be served: ModelLoadFailed: model.joblib"
    )
    assert {answer for answer, _ in running.predict(first["status"]["url"], "blocked", 3)} == {1}


def test_attack_pickle_is_never_run(running: Any, tmp_path: Path) -> None:
    trace = tmp_path / "attacked"

    class Attack:
        def __reduce__(self) -> tuple[Any, ...]:
            return (os.mkdir, (str(trace),))

    uri = running.put("models/attack/model.pkl", pickle.dumps(Attack()), recorded_by="upload/somebody")
    isvc = running.apply("attack", sklearn(uri))
    assert condition(isvc, "Ready")["reason"] == "PickleNotVouched"
    assert "nobody vouches" in condition(isvc, "PredictorReady")["message"]
    assert isvc["status"]["modelStatus"]["lastFailureInfo"]["reason"] == "ModelLoadFailed"
    assert running.resources.find("serving.knative.dev/v1", "Service", "default", "attack-predictor") is None
    assert not trace.exists()


def test_owner_may_trust_a_pickle(running: Any, constant: Callable[[int], Any]) -> None:
    uri = running.put("models/trusted/model.joblib", constant(3), recorded_by=None)
    isvc = running.apply("trusted", sklearn(uri))
    assert condition(isvc, "Ready")["reason"] == "PickleNotVouched"
    running.apply("trusted", sklearn(uri), {"zeroflow.dev/trust-pickle": "true"})
    isvc = running.settle("trusted", is_ready)
    assert {answer for answer, _ in running.predict(isvc["status"]["url"], "trusted")} == {3}


def test_legacy_framework_field_serves_as_well(running: Any, constant: Callable[[int], Any]) -> None:
    running.apply("legacy", {"sklearn": {"storageUri": running.put("models/legacy/model.joblib", constant(4))}})
    isvc = running.settle("legacy", is_ready)
    assert {answer for answer, _ in running.predict(isvc["status"]["url"], "legacy")} == {4}


def test_deleted_takes_everything_with_it(running: Any, constant: Callable[[int], Any]) -> None:
    running.apply("gone", sklearn(running.put("models/gone/model.joblib", constant(5))))
    isvc = running.settle("gone", is_ready)
    running.resources.delete("serving.kserve.io/v1beta1", "InferenceService", "default", "gone")
    running.tell(isvc)
    assert running.resources.find("serving.knative.dev/v1", "Service", "default", "gone-predictor") is None
    assert (
        running.resources.find("serving.knative.dev/v1beta1", "DomainMapping", "default", "gone.default.localhost")
        is None
    )
