"""A custom predictor as KServe's guide writes it."""

from pathlib import Path

from kserve import InferRequest, Model, ModelServer
from kserve.errors import InvalidInput
from scaling import scaled


class Doubler(Model):
    def __init__(self, name: str):
        super().__init__(name)
        self.factor = None
        self.asked = 0

    def load(self):
        self.factor = float((Path(self.model_dir) / "factor.txt").read_text())
        self.ready = True
        return True

    async def preprocess(self, payload, headers=None):
        if isinstance(payload, InferRequest):
            return payload.inputs[0].as_numpy()
        if "instances" not in payload:
            raise InvalidInput("where are the instances?")
        return payload["instances"]

    def predict(self, payload, headers=None, response_headers=None):
        self.asked += 1
        if self.asked == 3:
            raise RuntimeError("the third request is always a bad one")
        return {"predictions": scaled(payload, self.factor), "tenant": (headers or {}).get("x-tenant")}

    def postprocess(self, result, headers=None):
        return result

    def explain(self, payload, headers=None):
        return {"explanations": ["because"]}


if __name__ == "__main__":
    ModelServer().start([Doubler("doubler")])
