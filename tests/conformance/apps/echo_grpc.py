"""A gRPC server of four methods, whose messages are plain bytes."""

import os
import signal
import threading
from concurrent import futures
from pathlib import Path

import grpc


def unary(request, context):
    metadata = dict(context.invocation_metadata())
    if request == b"fail":
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, "as you wish: ünd so")
    context.set_trailing_metadata((("x-trailing", metadata.get("x-word", "none")),))
    return request + b"|" + metadata.get("x-word", "").encode() + b"|" + str(os.getpid()).encode()


def many(request, context):
    for number in range(int(request)):
        yield str(number).encode()


def sum_up(requests, context):
    return str(sum(len(request) for request in requests)).encode()


def chat(requests, context):
    for request in requests:
        yield request.upper()


def forever(request, context):
    told = Path(request.decode())
    told.write_text("begun")
    ended = threading.Event()

    def end():
        told.write_text("ended")
        ended.set()

    context.add_callback(end)
    yield b"begun"
    ended.wait(60)


METHODS = {
    "Unary": grpc.unary_unary_rpc_method_handler(unary),
    "Many": grpc.unary_stream_rpc_method_handler(many),
    "SumUp": grpc.stream_unary_rpc_method_handler(sum_up),
    "Chat": grpc.stream_stream_rpc_method_handler(chat),
    "Forever": grpc.unary_stream_rpc_method_handler(forever),
}


def check(request, context):
    healthy = request[2:].decode() == os.environ.get("HEALTHY", "")
    return b"\x08\x01" if healthy else b"\x08\x02"


HEALTH = {"Check": grpc.unary_unary_rpc_method_handler(check)}

server = grpc.server(futures.ThreadPoolExecutor(16), options=[("grpc.max_receive_message_length", 64 << 20)])
server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Echo", METHODS),))
server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("grpc.health.v1.Health", HEALTH),))
server.add_insecure_port(f"127.0.0.1:{os.environ['PORT']}")
server.start()
signal.signal(signal.SIGTERM, lambda *_: server.stop(5))
server.wait_for_termination()
