"""Splits what arrives into frames, for two reasons: to take some at a time, and to take GOAWAY out.

A frame of nine bytes may be as much work as one of sixteen thousand, so whoever sends thousands of them (RFC 9113,
10.5) gets MOST_FRAMES looked at, then it is everybody else's turn. h2 answers nothing more once it has seen a GOAWAY,
though streams may go on: a server that shuts down gently (a gRPC server with a connection age, say) sends one and
finishes the streams that it has. Source: RFC 9113 sections 4.1 and 6.8.
"""

from __future__ import annotations

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_HEAD_BYTES = 9
_GOAWAY = 0x7
_DEFAULT_MAX_FRAME_BYTES = 16384
MOST_FRAMES = 64
"""Of a connection, in one turn of the loop: some ten milliseconds of the dearest ones."""


class Frames:
    """What arrives, a few frames at a time. `skip` bytes before the first frame (a client's preface) pass unread."""

    def __init__(self, skip: int = 0) -> None:
        self._passing = skip  # of the present frame, to be passed on as they are
        self._held = b""
        self.behind = False
        """Whether there is more than was taken, to be had by `take(b"")`."""
        self.last_stream: int | None = None
        """The highest stream that the other side will still look at, once it has said GOAWAY."""

    def take(self, data: bytes) -> bytes:
        """Return up to MOST_FRAMES of what was held and `data`, without GOAWAY; a frame's incomplete head waits."""
        if self._held:
            data, self._held = self._held + data, b""
        passed: list[bytes] = []
        begin = at = count = 0
        while at < len(data) and count < MOST_FRAMES:
            if self._passing:
                step = min(self._passing, len(data) - at)
                self._passing -= step
                at += step
                continue
            if len(data) - at < _HEAD_BYTES:
                break
            count += 1
            length = int.from_bytes(data[at : at + 3], "big")
            if data[at + 3] != _GOAWAY or length > _DEFAULT_MAX_FRAME_BYTES:
                self._passing = length + _HEAD_BYTES
                continue
            if len(data) - at < _HEAD_BYTES + length:
                break
            passed.append(data[begin:at])
            last = int.from_bytes(data[at + 9 : at + 13], "big") & 0x7FFFFFFF
            self.last_stream = last if self.last_stream is None else min(last, self.last_stream)
            at += _HEAD_BYTES + length
            begin = at
        passed.append(data[begin:at])
        self._held = data[at:]
        self.behind = count >= MOST_FRAMES and at < len(data)
        return b"".join(passed)


def goaway(last_stream: int) -> bytes:
    """Return a GOAWAY frame without an error."""
    return b"\x00\x00\x08\x07\x00\x00\x00\x00\x00" + last_stream.to_bytes(4, "big") + b"\x00\x00\x00\x00"
