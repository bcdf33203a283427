"""Artifacts and logs on an S3-compatible store."""

import boto3
import pytest
from moto.server import ThreadedMotoServer


@pytest.fixture
def s3():
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


def test_a_step_reads_and_writes_artifacts_on_s3_and_its_log_is_uploaded(own_function, task, components, s3):
    credentials = {"aws_access_key_id": "key", "aws_secret_access_key": "secret", "region_name": "us-east-1"}
    client = boto3.client("s3", endpoint_url=s3, **credentials)
    client.create_bucket(Bucket="lake")
    client.put_object(Bucket="lake", Key="given/data.csv", Body=b"a\nb\n")
    function = own_function(
        AWS_ENDPOINT_URL=s3,
        AWS_ACCESS_KEY_ID="key",
        AWS_SECRET_ACCESS_KEY="secret",
        AWS_DEFAULT_REGION="us-east-1",
    )
    given = {"name": "data", "uri": "s3://lake/given/data.csv", "type": {"schemaTitle": "system.Dataset"}}
    wanted = task(components.train, artifacts={"data": [given]})
    (model,) = wanted["executor_input"]["outputs"]["artifacts"]["model"]["artifacts"]
    model["uri"] = "s3://lake/run/task/model"
    wanted["log_uri"] = "s3://lake/logs/task.1.log"
    answer = function.request(wanted)
    assert answer["outputs"]["parameterValues"] == {"Output": 2}, answer
    (stored,) = answer["outputs"]["artifacts"]["model"]
    assert (stored["uri"], stored["size_bytes"]) == ("s3://lake/run/task/model", 4)
    assert stored["metadata"]["read_from"] == "s3://lake/given/data.csv"
    assert client.get_object(Bucket="lake", Key="run/task/model/deep/more.txt")["Body"].read() == b"2\n"
    assert b"KFP Executor" in client.get_object(Bucket="lake", Key="logs/task.1.log")["Body"].read()
    client.close()
