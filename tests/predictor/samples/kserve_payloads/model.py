"""A class as KServe's own servers are written: helpers, headers both ways, what a request says besides its tensors."""

import argparse

import numpy as np
from kserve import InferOutput, InferRequest, InferResponse, Model, model_server
from kserve.logging import logger
from kserve.utils.utils import get_predict_input, get_predict_response

parser = argparse.ArgumentParser(parents=[model_server.parser])
args, _ = parser.parse_known_args([])


class Payloads(Model):
    def __init__(self, name):
        super().__init__(name, return_response_headers=True)

    def load(self):
        logger.info("loaded")
        self.ready = True
        return self.ready

    def get_input_types(self):
        return [{"name": "x", "datatype": "FP64", "shape": [-1, 2]}]

    def get_output_types(self):
        return [{"name": "y", "datatype": "FP64", "shape": [-1]}]

    def predict(self, payload, headers=None, response_headers=None):
        response_headers["X-Model"] = "yes"
        response_headers["zeroflow-revision"] = "another"
        response_headers["x-split"] = "a\r\nset-cookie: b"
        if isinstance(payload, InferRequest):
            return self.tensors(payload, headers)
        if isinstance(payload, bytes):
            return {"predictions": [len(payload)]}
        match payload.get("answer"):
            case "text":
                return "plain"
            case "bytes":
                return b"\xff\xfe"
            case "response":
                output = InferOutput("y", [2], "FP64")
                output.set_data_from_numpy(np.array([1.0, 2.0]), binary_data=False)
                return InferResponse("made", self.name, [output])
            case "object":
                return object()
        return get_predict_response(payload, get_predict_input(payload), self.name)

    def tensors(self, request, headers):
        first = request.inputs[0]
        if first.name == "said":
            said = [
                *(request.id, request.parameters, first.parameters, headers.get("x-mine"), request.from_grpc),
                [[each.name, each.parameters] for each in request.request_outputs or []],
            ]
            output = InferOutput("y", [1], "BYTES", [repr(said)], parameters={"of": "y"})
            return InferResponse("made", self.name, [output], parameters={"of": "all"})
        if first.name == "bytes":
            values = first.as_numpy().ravel()
            output = InferOutput("y", [len(values)], "BYTES")
            output.set_data_from_numpy(values)
            kinds = InferOutput("kinds", [len(values)], "BYTES", [type(value).__name__ for value in values])
            return InferResponse(request.id, self.name, [output, kinds])
        return get_predict_response(request, get_predict_input(request), self.name)
