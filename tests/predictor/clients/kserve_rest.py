"""KServe's own REST client, both protocols: `kserve_rest.py URL` prints what it got as JSON."""

import asyncio
import json
import sys

from kserve import InferenceRESTClient, InferInput, InferRequest
from kserve.inference_client import RESTConfig

ROWS = [[5.1, 3.5, 1.4, 0.2], [6.7, 3.0, 5.2, 2.3]]


async def main(url: str) -> None:
    v1, v2 = (InferenceRESTClient(RESTConfig(protocol=protocol)) for protocol in ("v1", "v2"))
    given = InferInput("input-0", [2, 4], "FP64", [value for row in ROWS for value in row])
    request = InferRequest(model_name="iris", infer_inputs=[given], request_id="7")
    answer = await v2.infer(url, request, model_name="iris")
    found = {
        "v1_live": await v1.is_server_live(url),
        "v1_ready": await v1.is_model_ready(url, "iris"),
        "v1_predictions": (await v1.infer(url, {"instances": ROWS}, model_name="iris"))["predictions"],
        "v2_live": await v2.is_server_live(url),
        "v2_ready": await v2.is_server_ready(url),
        "v2_model_ready": await v2.is_model_ready(url, "iris"),
        "v2_outputs": [output.as_numpy().tolist() for output in answer.outputs],
        "v2_id": answer.id,
    }
    print(json.dumps(found))


asyncio.run(main(sys.argv[1]))
