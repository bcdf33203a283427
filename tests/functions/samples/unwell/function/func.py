"""Neither alive nor ready, and says so in the two ways there are."""


def new():
    return Unwell()


class Unwell:
    async def handle(self, scope, receive, send):
        raise AssertionError("nobody calls it")

    def alive(self):
        return False, "out of memory"

    def ready(self):
        return False
