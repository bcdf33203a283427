"""A custom runtime as MLServer's guide writes it."""

from mlserver import MLModel, types
from mlserver.codecs import NumpyCodec


class Summing(MLModel):
    async def load(self) -> bool:
        self.uri = self.settings.parameters.uri
        return True

    async def predict(self, payload: types.InferenceRequest) -> types.InferenceResponse:
        rows = NumpyCodec.decode_input(payload.inputs[0])
        return types.InferenceResponse(
            model_name=self.name, outputs=[NumpyCodec.encode_output(name="total", payload=rows.sum(axis=1))]
        )
