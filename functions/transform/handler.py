"""The HTTP edge of transform: `POST / {"expression": ..., "input": ...}` is answered `{"output": ...}`.

Without an input the expression is only read. 400: it cannot be; 422: it cannot be evaluated for this input. The
embedded host asks here for its EventTransforms, so that expressions run in a process of their own, which holds no
secret of the platform.
"""

from __future__ import annotations

import orjson
from flask import Flask, Response, request

from zeroflow.functions.transform.expressions import Expressions, Failed, Unreadable

MAX_BODY_BYTES = 8 << 20


def create_app(expressions: Expressions | None = None) -> Flask:
    """Build the app."""
    known = expressions or Expressions()
    app = Flask("zeroflow.functions.transform", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES

    @app.post("/")
    def evaluate() -> Response:
        try:
            asked = orjson.loads(request.get_data())
            text = asked["expression"]
            if "input" not in asked:
                known.read(text)
                return _json(200, {})
            return _json(200, {"output": known.evaluate(text, asked["input"])})
        except Unreadable as error:
            return _json(400, {"error": str(error)})
        except Failed as error:
            return _json(422, {"error": str(error)})
        except (ValueError, KeyError, TypeError) as error:
            return _json(400, {"error": f'expected {{"expression": TEXT, "input": JSON}}: {error}'})

    @app.get("/health/<_kind>")
    def health(_kind: str) -> str:
        return "ok"

    return app


def _json(status: int, document: object) -> Response:
    try:
        body = orjson.dumps(document)
    except TypeError as error:  # a function is a value in JSONata, and none in JSON
        status, body = 422, orjson.dumps({"error": f"JSONata: the result is not JSON: {error}"})
    return Response(body, status, content_type="application/json")
