"""A transformer as KServe's documentation writes one: kserve's own server, arguments and client, unmodified."""

import argparse
from typing import Any

import kserve
from kserve import model_server
from kserve.model import PredictorConfig


class Negating(kserve.Model):
    def __init__(self, name: str, predictor_host: str) -> None:
        super().__init__(name, PredictorConfig(predictor_host=predictor_host, predictor_protocol="v1"))
        self.ready = True

    def preprocess(self, payload: dict[str, Any], headers: dict[str, str] | None = None) -> dict[str, Any]:
        return {"instances": [[float(value) for value in row.split(",")] for row in payload["instances"]]}

    def postprocess(self, result: dict[str, Any], *_: Any) -> dict[str, Any]:
        return {"predictions": [-each for each in result["predictions"]]}


parser = argparse.ArgumentParser(parents=[model_server.parser])
args, _ = parser.parse_known_args()
kserve.ModelServer().start([Negating(args.model_name, args.predictor_host)])
