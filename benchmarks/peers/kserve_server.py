"""KServe's own Python server around a model, as its sklearn server does it: `kserve_server.py MODEL_FILE PORT
[GRPC_PORT]`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import kserve
from asking import answering
from kserve.utils.utils import get_predict_input, get_predict_response


class Peer(kserve.Model):
    """What KServe's sklearnserver does: load once, predict on what its own helper reads from the request."""

    def __init__(self, path: str) -> None:
        super().__init__("model")
        self.answer = answering(path)
        self.ready = True

    def predict(self, payload, headers=None, response_headers=None):
        """Answer one request of either protocol."""
        return get_predict_response(payload, self.answer(get_predict_input(payload)), self.name)


if __name__ == "__main__":
    calls = {"enable_grpc": True, "grpc_port": int(sys.argv[3])} if len(sys.argv) > 3 else {"enable_grpc": False}
    server = kserve.ModelServer(http_port=int(sys.argv[2]), workers=1, access_log_format=None, **calls)
    server.start([Peer(sys.argv[1])])
