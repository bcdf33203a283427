"""HTTP/2 without TLS: gRPC by the official client through the host's one port to a function whose port is h2c."""

import os
import signal
import subprocess
import time
from concurrent import futures
from pathlib import Path

import grpc
import pytest

GRPC = {"ports": [{"name": "h2c", "containerPort": 50051}]}


@pytest.fixture(scope="module")
def service(cluster):
    cluster.service("echo", "echo_grpc", container=GRPC)
    yield "echo"
    cluster.delete("echo")


@pytest.fixture
def channel(cluster, service):
    options = [("grpc.default_authority", f"echo.default.localhost:{cluster.port}")]
    options.append(("grpc.max_receive_message_length", 64 << 20))
    with grpc.insecure_channel(f"127.0.0.1:{cluster.port}", options=options) as opened:
        yield opened


def test_a_unary_call_brings_metadata_there_and_trailers_back(channel):
    call = channel.unary_unary("/test.Echo/Unary")
    answer, told = call.with_call(b"hello", metadata=(("x-word", "sesame"),), timeout=30)
    assert answer.startswith(b"hello|sesame|")
    assert ("x-trailing", "sesame") in told.trailing_metadata()


def test_an_error_of_the_function_is_the_clients_error(channel):
    with pytest.raises(grpc.RpcError) as refused:
        channel.unary_unary("/test.Echo/Unary")(b"fail", timeout=30)
    assert refused.value.code() == grpc.StatusCode.FAILED_PRECONDITION
    assert refused.value.details() == "as you wish: ünd so"


def test_streams_pass_in_all_directions(channel):
    answers = list(channel.unary_stream("/test.Echo/Many")(b"300", timeout=30))
    assert answers == [str(number).encode() for number in range(300)]
    parts = (b"x" * 1000 for _ in range(200))
    assert channel.stream_unary("/test.Echo/SumUp")(parts, timeout=30) == b"200000"


def test_a_conversation_goes_back_and_forth(channel):
    heard: list[bytes] = []

    def speak():
        yield b"one"
        while not heard:  # the second word is said after the answer to the first
            time.sleep(0.01)
        yield b"two"

    for answer in channel.stream_stream("/test.Echo/Chat")(speak(), timeout=30):
        heard.append(answer)
    assert heard == [b"ONE", b"TWO"]


def test_messages_larger_than_every_window_pass(channel):
    message = bytes(range(256)) * (16 << 10)  # 4 MiB
    assert (
        list(channel.stream_stream("/test.Echo/Chat")(iter([message[: 3 << 20]] * 3), timeout=60))
        == [message[: 3 << 20].upper()] * 3
    )


def test_many_calls_at_a_time_share_a_connection(channel):
    call = channel.unary_unary("/test.Echo/Unary")
    with futures.ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(lambda number: call(str(number).encode(), timeout=60), range(400)))
    assert [answer.split(b"|")[0] for answer in answers] == [str(number).encode() for number in range(400)]


def test_a_client_that_cancels_ends_the_call_in_the_function(channel, tmp_path, wait_until):
    told = tmp_path / "told"
    call = channel.unary_stream("/test.Echo/Forever")(str(told).encode(), timeout=60)
    assert next(call) == b"begun"
    call.cancel()
    wait_until(lambda: told.read_text() == "ended", "the function to hear of it")


def test_what_the_host_has_to_say_is_a_grpc_status(cluster):
    options = [("grpc.default_authority", f"nobody.default.localhost:{cluster.port}")]
    opened = grpc.insecure_channel(f"127.0.0.1:{cluster.port}", options=options)
    with opened as channel, pytest.raises(grpc.RpcError) as refused:
        channel.unary_unary("/test.Echo/Unary")(b"hello", timeout=30)
    assert refused.value.code() == grpc.StatusCode.UNIMPLEMENTED
    assert "no Service 'nobody'" in refused.value.details()


def test_calls_wake_a_sleeping_function_and_none_fails(cluster, channel, wait_until):
    channel.unary_unary("/test.Echo/Unary")(b"x", timeout=30)
    wait_until(lambda: not cluster.host.running_pods(), "the function to fall asleep")
    call = channel.unary_unary("/test.Echo/Unary")
    with futures.ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda number: call(b"x", timeout=60), range(20)))
    assert len(answers) == 20


def test_the_bare_host_leads_to_a_platform_service_by_its_path(cluster, service):
    path = "/apis/serving.knative.dev/v1/namespaces/zeroflow/services"
    service = {
        "apiVersion": "serving.knative.dev/v1",
        "kind": "Service",
        "metadata": {"name": "echo-platform", "annotations": {"zeroflow.dev/paths": "/test.Echo/"}},
        "spec": cluster.get("echo")["spec"],
    }
    assert cluster.host.request("POST", path, json=service).status == 201
    try:
        with grpc.insecure_channel(f"localhost:{cluster.port}") as channel:
            assert channel.unary_unary("/test.Echo/Unary")(b"there", timeout=30).startswith(b"there|")
    finally:
        cluster.host.request("DELETE", f"{path}/echo-platform")


def test_calls_right_after_a_killed_function_are_answered_by_another(channel, wait_until):
    call = channel.unary_unary("/test.Echo/Unary")
    for _ in range(5):
        pid = int(call(b"x", timeout=30).split(b"|")[2])
        os.kill(pid, signal.SIGKILL)
        # Until all of it is gone nobody can know that it will not answer.
        wait_until(lambda pid=pid: not Path(f"/proc/{pid}").exists(), "its end")
        assert int(call(b"x", timeout=30).split(b"|")[2]) != pid


def curl(*arguments):
    done = subprocess.run(["curl", "-sS", "-i", *arguments], capture_output=True, text=True, timeout=60, check=True)
    return done.stdout


def test_the_hosts_own_paths_answer_http2_and_an_upgrade_is_answered_by_http1(cluster):
    prior = curl("--http2-prior-knowledge", f"{cluster.url}/healthz")
    assert prior.startswith("HTTP/2 200")
    assert prior.endswith("ok")
    upgrade = curl("--http2", f"{cluster.url}/healthz")
    assert upgrade.startswith("HTTP/1.1 200")
    created = curl(
        "--http2-prior-knowledge", f"{cluster.url}/api/v1/namespaces/default/configmaps",
        "-H", "Content-Type: application/json", "-d", '{"metadata": {"name": "by-http2"}, "data": {"a": "b"}}',
    )  # fmt: skip
    assert created.startswith("HTTP/2 201"), created
    refused = curl("--http2-prior-knowledge", f"{cluster.url}/healthz", "-H", "Origin: http://evil.example")
    assert refused.startswith("HTTP/2 403")


def test_a_client_of_http1_reaches_an_h2c_function(cluster, service):
    grpc_headers = {"Content-Type": "application/grpc", "TE": "trailers"}
    answer = cluster.ask("echo", "/test.Echo/Nothing", "POST", body=b"", headers=grpc_headers)
    assert answer.status == 200
    assert answer.headers["grpc-status"] == "12"
