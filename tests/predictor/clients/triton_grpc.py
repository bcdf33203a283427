"""Triton's gRPC client: `triton_grpc.py HOST:PORT` prints what it got as JSON."""

import json
import queue
import sys

import numpy as np
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

ROWS = np.array([[5.1, 3.5, 1.4, 0.2], [6.7, 3.0, 5.2, 2.3]])


def refusal(call) -> list[str]:
    try:
        call()
    except InferenceServerException as error:
        return [str(error.status()), error.message()]
    return []


def by_triton(url: str) -> dict:
    client = triton.InferenceServerClient(url)
    given = triton.InferInput("input-0", [2, 4], "FP64")
    given.set_data_from_numpy(ROWS)
    wanted = [triton.InferRequestedOutput(name) for name in ("predict", "predict_proba")]
    answer = client.infer("iris", [given], outputs=wanted, request_id="7")
    packed = client.infer("iris", [given], compression_algorithm="gzip")
    wide = triton.InferInput("input-0", [4, 2], "FP64")
    wide.set_data_from_numpy(ROWS.reshape(4, 2))
    metadata = client.get_model_metadata("iris", as_json=True)
    found = {
        "live": client.is_server_live(),
        "ready": client.is_server_ready(),
        "model_ready": client.is_model_ready("iris"),
        "server": client.get_server_metadata().name,
        "inputs": metadata["inputs"],
        "predict": answer.as_numpy("predict").tolist(),
        "shape": list(answer.as_numpy("predict_proba").shape),
        "id": answer.get_response().id,
        "packed": packed.as_numpy("predict").tolist(),
        "index": [[each.name, each.state] for each in client.get_model_repository_index().models],
        "unknown": refusal(lambda: client.infer("nope", [given])),
        "wide": refusal(lambda: client.infer("iris", [wide])),
        "config": refusal(lambda: client.get_model_config("iris")),
        "many": len({tuple(client.infer("iris", [given]).as_numpy("predict")) for _ in range(200)}),
    }
    client.unload_model("iris")
    found["unloaded"] = [client.is_model_ready("iris"), refusal(lambda: client.infer("iris", [given]))[0]]
    client.load_model("iris")
    found["loaded"] = client.is_model_ready("iris")
    results = queue.Queue()
    for _ in range(20):
        client.async_infer("iris", [given], lambda result, error: results.put(error))
    found["async"] = sum(results.get(timeout=30) is None for _ in range(20))
    client.close()
    return found


if __name__ == "__main__":
    print(json.dumps(by_triton(sys.argv[1])))
