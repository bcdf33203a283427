"""A bare Flask application under gunicorn, as people write it: MODEL names the file."""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from asking import answering
from flask import Flask, jsonify, request

app = Flask(__name__)
answer = answering(os.environ["MODEL"])


@app.post("/v1/models/model:predict")
def predict():
    """Answer protocol V1."""
    return jsonify(predictions=answer(request.get_json()["instances"]).tolist())
