"""The Open Inference Protocol's generated client: `oip.py URL` prints what it got as JSON."""

import json
import sys

from open_inference.openapi.client import InferenceRequest, OpenInferenceClient

client = OpenInferenceClient(base_url=sys.argv[1])
client.check_server_readiness()
metadata = client.read_model_metadata("iris")
request = InferenceRequest(
    id="7",
    inputs=[{"name": "input-0", "shape": [1, 4], "datatype": "FP64", "data": [5.1, 3.5, 1.4, 0.2]}],
)
answer = client.model_infer("iris", request=request)
print(
    json.dumps(
        {
            "name": metadata.name,
            "outputs": [output.name for output in metadata.outputs],
            "data": json.loads(answer.json())["outputs"][0]["data"],
            "id": answer.id,
        }
    )
)
