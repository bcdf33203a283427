"""KServe's gRPC client: `kserve_grpc.py HOST:PORT` prints what it got as JSON."""

import asyncio
import json
import sys

import grpc
import numpy as np
from kserve import InferenceGRPCClient, InferInput, InferRequest

ROWS = np.array([[5.1, 3.5, 1.4, 0.2], [6.7, 3.0, 5.2, 2.3]])


async def by_kserve(url: str) -> dict:
    client = InferenceGRPCClient(url, channel_args=[("grpc.enable_retries", 0)])
    plain = InferInput("input-0", [2, 4], "FP64", data=ROWS.ravel().tolist())
    raw = InferInput("input-0", [2, 4], "FP64")
    raw.set_data_from_numpy(ROWS, binary_data=True)
    found = {
        "live": await client.is_server_live(),
        "ready": await client.is_server_ready(),
        "model_ready": await client.is_model_ready("iris"),
    }
    for name, tensor in (("plain", plain), ("raw", raw)):
        answer = await client.infer(InferRequest(model_name="iris", infer_inputs=[tensor], request_id="8"))
        found[name] = [answer.id, answer.outputs[0].name, answer.outputs[0].as_numpy().tolist()]
    try:
        bad = InferInput("input-0", [2, 3], "FP64", data=ROWS.ravel().tolist())
        await client.infer(InferRequest(model_name="iris", infer_inputs=[bad]))
    except grpc.aio.AioRpcError as error:
        found["bad"] = [error.code().name, error.details()]
    await client.close()
    return found


if __name__ == "__main__":
    print(json.dumps(asyncio.run(by_kserve(sys.argv[1]))))
