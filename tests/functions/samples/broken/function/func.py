"""Cannot start."""


def new():
    return Broken()


class Broken:
    async def handle(self, scope, receive, send):
        raise AssertionError("nobody calls it")

    def start(self, cfg):
        raise RuntimeError("no model at MODEL_URI")
