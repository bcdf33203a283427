"""A WebSocket server as a plain command."""

import os

from aiohttp import web


async def echo(request):
    socket = web.WebSocketResponse(protocols=["a"])
    await socket.prepare(request)
    async for message in socket:
        if message.data == "close":
            await socket.close(code=4000)
        elif message.data == "who":
            await socket.send_str(request.headers.get("Zeroflow-Caller", "nobody"))
        elif isinstance(message.data, str):
            await socket.send_str(f"echo {message.data}")
        else:
            await socket.send_bytes(message.data)
    return socket


app = web.Application()
app.router.add_get("/{tail:.*}", echo)
web.run_app(app, host="127.0.0.1", port=int(os.environ["PORT"]), print=None)
