"""BentoML around a model: MODEL names the file."""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import bentoml
from asking import answering


@bentoml.service(workers=1)
class Peer:
    """Answers protocol V1's body at a path of BentoML's own."""

    def __init__(self) -> None:
        self.answer = answering(os.environ["MODEL"])

    @bentoml.api(route="/v1/models/model:predict")
    def predict(self, instances: list) -> dict:
        """Ask the model."""
        return {"predictions": self.answer(instances).tolist()}
