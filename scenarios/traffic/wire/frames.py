"""WebSocket frames (RFC 6455), as much of them as a client needs that stays and listens. Pure."""

import base64
import hashlib
import os
import struct
from collections.abc import Iterator
from enum import IntEnum
from typing import NamedTuple

# RFC 6455, section 1.3.
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_MASK_SIZE = 4
_MAX_CONTROL = 125  # RFC 6455, section 5.5
_LONGEST_TEXT = 65_536
_LENGTH_16 = 126
_LENGTH_64 = 127


class FrameError(Exception):
    """What arrived is no frame that a server may send; the message says why."""


class Opcode(IntEnum):
    """RFC 6455, section 5.2."""

    CONTINUATION = 0
    TEXT = 1
    BINARY = 2
    CLOSE = 8
    PING = 9
    PONG = 10


class Control(NamedTuple):
    """A control frame: close, ping or pong; for who listens, also a text."""

    opcode: Opcode
    payload: bytes


def key_for(request_id: str) -> str:
    """A `Sec-WebSocket-Key`: 16 bytes that follow from the request's id, in base64."""
    return base64.b64encode(hashlib.sha256(request_id.encode()).digest()[:16]).decode("ascii")


def accept_for(key: str) -> str:
    """The `Sec-WebSocket-Accept` that a server must answer a key with."""
    digest = hashlib.sha1(key.encode() + _GUID, usedforsecurity=False).digest()
    return base64.b64encode(digest).decode("ascii")


def control_frame(opcode: Opcode, payload: bytes = b"") -> bytes:
    """A control frame as a client sends it: whole and masked (section 5.3)."""
    mask = os.urandom(_MASK_SIZE)
    masked = bytes(byte ^ mask[index % _MASK_SIZE] for index, byte in enumerate(payload))
    return struct.pack("!BB", 0x80 | opcode, 0x80 | len(payload)) + mask + masked


def close_code(payload: bytes) -> int | None:
    """The code of a close frame; None if it has none."""
    return struct.unpack_from("!H", payload)[0] if len(payload) >= struct.calcsize("!H") else None


def close_reason(payload: bytes) -> str:
    """What a close frame says: its code, and its reason if it gives one (section 5.5.1)."""
    if len(payload) < struct.calcsize("!H"):
        return "without a code"
    (code,) = struct.unpack_from("!H", payload)
    reason = payload[2:].decode("utf-8", errors="replace")
    return f"{code} {reason}".strip()


class FrameReader:
    """Reads a server's frames: yields the control frames, and lets messages pass unseen.

    Messages are not kept, so that memory does not depend on what the server sends. Who listens is
    given short texts that come in one frame, too.
    """

    def __init__(self, *, listens: bool = False) -> None:
        self._listens = listens
        self._buffer = bytearray()
        self._skip = 0  # what is still to come of a message's frame

    def feed(self, data: bytes | bytearray | memoryview) -> Iterator[Control]:
        """Take in what has arrived.

        Raises:
            FrameError: a server may not send this.
        """
        self._buffer += data
        while True:
            skipped = min(self._skip, len(self._buffer))
            del self._buffer[:skipped]
            self._skip -= skipped
            if self._skip:
                return
            header = self._header()
            if header is None:
                return
            opcode, start, length = header
            heard = self._listens and opcode is Opcode.TEXT and length <= _LONGEST_TEXT
            if opcode < Opcode.CLOSE and not heard:
                del self._buffer[:start]
                self._skip = length
                continue
            if len(self._buffer) < start + length:
                return
            payload = bytes(self._buffer[start : start + length])
            del self._buffer[: start + length]
            yield Control(opcode, payload)

    def _header(self) -> tuple[Opcode, int, int] | None:
        """A frame's opcode, where its payload starts, and its length; None until that is known."""
        buffer = self._buffer
        if len(buffer) < 2:  # noqa: PLR2004 - section 5.2: the part that every frame has
            return None
        first, second = buffer[0], buffer[1]
        if first & 0x70:
            raise FrameError("a reserved bit is set, and no extension was agreed")
        try:
            opcode = Opcode(first & 0x0F)
        except ValueError:
            raise FrameError(f"opcode {first & 0x0F} is reserved") from None
        if second & 0x80:
            raise FrameError("a server's frame is masked")
        length = second & 0x7F
        if opcode >= Opcode.CLOSE and (length > _MAX_CONTROL or not first & 0x80):
            raise FrameError("a control frame is too long, or in pieces")
        form = {_LENGTH_16: "!H", _LENGTH_64: "!Q"}.get(length)
        if form is None:
            return opcode, 2, length
        start = 2 + struct.calcsize(form)
        if len(buffer) < start:
            return None
        return opcode, start, struct.unpack_from(form, buffer, 2)[0]
