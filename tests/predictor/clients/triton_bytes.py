"""Triton's gRPC client with bytes that are no text: `triton_bytes.py HOST:PORT MODEL` prints what came back as JSON."""

import json
import sys

import numpy as np
import tritonclient.grpc as triton


def by_triton(url: str, model: str) -> dict:
    client = triton.InferenceServerClient(url)
    given = triton.InferInput("bytes", [2], "BYTES")
    given.set_data_from_numpy(np.array([b"\xff\xd8\x00", b"text"], dtype=object))
    answer = client.infer(model, [given], request_id="7")
    found = {
        "same": answer.as_numpy("y").tolist() == [b"\xff\xd8\x00", b"text"],
        "kinds": [kind.decode() for kind in answer.as_numpy("kinds")],
    }
    said = triton.InferInput("said", [1], "FP64")
    said.set_data_from_numpy(np.array([1.0]))
    answer = client.infer(model, [said], parameters={"a": 1}, headers={"x-mine": "1"})
    found["said"] = answer.as_numpy("y")[0].decode()
    found["parameters"] = {name: each.string_param for name, each in answer.get_response().parameters.items()}
    client.close()
    return found


if __name__ == "__main__":
    print(json.dumps(by_triton(sys.argv[1], sys.argv[2])))
