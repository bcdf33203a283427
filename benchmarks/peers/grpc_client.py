"""Load over gRPC with KServe's own stubs: `grpc_client.py HOST:PORT MODEL LANES SECONDS` prints count, seconds, p99."""

import json
import sys
import threading
import time

import grpc
import numpy as np
from kserve.protocol.grpc import grpc_predict_v2_pb2 as messages
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub

address, model, lanes, seconds = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
row = np.array([[5.1, 3.5, 1.4, 0.2]])
tensor = messages.ModelInferRequest.InferInputTensor(name="input-0", datatype="FP64", shape=[1, 4])
request = messages.ModelInferRequest(model_name=model, inputs=[tensor], raw_input_contents=[row.tobytes()])
channel = grpc.insecure_channel(address)
stub = GRPCInferenceServiceStub(channel)
deadline = time.monotonic() + 60
while True:
    try:
        stub.ModelInfer(request, timeout=5)
        break
    except grpc.RpcError:
        if time.monotonic() > deadline:
            raise
        time.sleep(0.05)
taken: list[float] = []
until = time.monotonic() + seconds


def lane() -> None:
    """Ask one after the other."""
    while (begun := time.monotonic()) < until:
        stub.ModelInfer(request)
        taken.append(time.monotonic() - begun)


began = time.monotonic()
threads = [threading.Thread(target=lane) for _ in range(lanes)]
for each in threads:
    each.start()
for each in threads:
    each.join()
took = time.monotonic() - began
print(json.dumps([len(taken), took, sorted(taken)[int(len(taken) * 0.99)] * 1000]))
