"""LitServe around a model: `litserve_server.py MODEL_FILE PORT`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import litserve
from asking import answering


class Peer(litserve.LitAPI):
    """Decodes protocol V1, predicts, encodes."""

    def setup(self, device):
        """Load the model."""
        self.answer = answering(sys.argv[1])

    def decode_request(self, request):
        """Return the rows."""
        return request["instances"]

    def predict(self, rows):
        """Ask the model."""
        return self.answer(rows)

    def encode_response(self, found):
        """Return protocol V1's answer."""
        return {"predictions": found.tolist()}


if __name__ == "__main__":
    server = litserve.LitServer(Peer(api_path="/v1/models/model:predict"), accelerator="cpu", workers_per_device=1)
    server.run(port=int(sys.argv[2]), generate_client_file=False, log_level="error")
