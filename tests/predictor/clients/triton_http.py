"""Triton's HTTP client, a strict reader of protocol V2: `triton_http.py HOST:PORT` prints what it got as JSON."""

import json
import sys

import numpy as np
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

client = triton.InferenceServerClient(sys.argv[1])
given = triton.InferInput("input-0", [2, 4], "FP64")
given.set_data_from_numpy(np.array([[5.1, 3.5, 1.4, 0.2], [6.7, 3.0, 5.2, 2.3]]), binary_data=False)
wanted = [triton.InferRequestedOutput(name, binary_data=False) for name in ("predict", "predict_proba")]
answer = client.infer("iris", [given], outputs=wanted, request_id="7")
given.set_data_from_numpy(np.array([[5.1, 3.5, 1.4, 0.2], [6.7, 3.0, 5.2, 2.3]]), binary_data=True)
in_binary = client.infer("iris", [given])
try:
    given.set_data_from_numpy(np.zeros((2, 4)), binary_data=True)
    client.infer("iris", [given], outputs=[triton.InferRequestedOutput("nope", binary_data=True)])
    refusal = ""
except InferenceServerException as error:
    refusal = str(error)
found = {
    "live": client.is_server_live(),
    "ready": client.is_server_ready(),
    "model_ready": client.is_model_ready("iris"),
    "unknown_ready": client.is_model_ready("nope"),
    "server": client.get_server_metadata()["name"],
    "inputs": client.get_model_metadata("iris")["inputs"],
    "predict": answer.as_numpy("predict").tolist(),
    "shape": list(answer.as_numpy("predict_proba").shape),
    "id": answer.get_response()["id"],
    "binary": in_binary.as_numpy("predict").tolist(),
    "refusal": refusal,
}
print(json.dumps(found))
