"""The peer of the predictor benchmark: KServe's own Python server around a joblib model, as its sklearn server does.

Run by the Python of an environment with kserve and scikit-learn: `kserve_server.py MODEL_FILE PORT`.
"""

import sys

import joblib
import kserve
from kserve.utils.utils import get_predict_input, get_predict_response


class Sklearn(kserve.Model):
    """What KServe's sklearnserver does: load once, predict on what its own helper reads from the request."""

    def __init__(self, path: str) -> None:
        super().__init__("model")
        self.model = joblib.load(path)
        self.ready = True

    def predict(self, payload, headers=None, response_headers=None):
        """Answer one request of either protocol."""
        return get_predict_response(payload, self.model.predict(get_predict_input(payload)), self.name)


if __name__ == "__main__":
    server = kserve.ModelServer(http_port=int(sys.argv[2]), enable_grpc=False, workers=1, access_log_format=None)
    server.start([Sklearn(sys.argv[1])])
