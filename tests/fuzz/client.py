"""Clients that say whatever they are told to, byte by byte; and one that is honest."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
from collections.abc import Iterator
from typing import Any, Self

from tests.services.frames import CLOSE, PONG, TEXT, encode_frame

from .live import PATIENCE, LiveNode, check_answer

WEBSOCKET = "/socket.io/?EIO=4&transport=websocket"
POLLING = "/socket.io/?EIO=4&transport=polling"
_UPGRADE = (
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


class Closed(Exception):
    """The server has ended the connection; with a code, if it sent one."""

    def __init__(self, code: int | None) -> None:
        super().__init__(code)
        self.code = code


class Wire:
    """A TCP connection.  Nothing that is received may tell of the server's inside."""

    def __init__(self, node: LiveNode) -> None:
        self._sock = socket.create_connection(("127.0.0.1", node.port), PATIENCE)
        self._arrived = bytearray()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def send(self, data: bytes) -> bool:
        """False if nobody is there to take it."""
        try:
            self._sock.sendall(data)
        except ConnectionError:
            return False
        return True

    def half_close(self) -> None:
        """Say nothing more, and read on."""
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """End it as a machine does that has lost all memory of it."""
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._sock.close()

    def close(self) -> None:
        self._sock.close()

    def read(self, size: int) -> bytes:
        """So many bytes.  Raises Closed if they don't come."""
        while len(self._arrived) < size:
            self._receive()
        taken = bytes(self._arrived[:size])
        del self._arrived[:size]
        return taken

    def read_until(self, end: bytes) -> bytes:
        """All up to ``end``, which is included.  Raises Closed."""
        while (found := self._arrived.find(end)) < 0:
            self._receive()
        return self.read(found + len(end))

    def rest(self) -> bytes:
        """Everything until the server hangs up."""
        with contextlib.suppress(Closed):
            while True:
                self._receive()
        return bytes(self._arrived)

    def _receive(self) -> None:
        try:
            data = self._sock.recv(65_536)
        except ConnectionError:
            data = b""
        if not data:
            raise Closed(None)
        self._arrived += data


class WebSocket(Wire):
    """A WebSocket whose opening handshake has been answered."""

    def __init__(self, node: LiveNode, *, sid: str = "") -> None:
        super().__init__(node)
        target = WEBSOCKET + (f"&sid={sid}" if sid else "")
        self.send(f"GET {target} HTTP/1.1\r\nHost: x\r\n{_UPGRADE}\r\n".encode())
        self.head = self.read_until(b"\r\n\r\n").decode()
        if " 101 " not in self.head:
            self.close()
            raise Closed(None)
        if not sid:
            assert self.packet().startswith("0{")

    def say(self, *texts: str) -> bool:
        """Send text messages; halves of surrogate pairs as if they were characters."""
        return self.send(
            b"".join(encode_frame(TEXT, text.encode(errors="surrogatepass")) for text in texts)
        )

    def frame(self) -> tuple[int, bytes]:
        """The next frame's opcode and payload.  Raises Closed."""
        first, length = self.read(2)
        assert first & 0xF0 == 0x80, "a server has no need of fragments, and agreed to nothing"
        if length == 126:
            (length,) = struct.unpack("!H", self.read(2))
        elif length == 127:
            (length,) = struct.unpack("!Q", self.read(8))
        payload = self.read(length)
        if first & 0x0F != PONG:  # that is the client's own
            check_answer(payload.decode(errors="replace"))
        return first & 0x0F, payload

    def packet(self) -> str:
        """The next packet.  Raises Closed, with the code if there is one."""
        while True:
            opcode, payload = self.frame()
            if opcode == CLOSE:
                raise Closed(int.from_bytes(payload[:2], "big") if payload else None)
            if opcode == TEXT:
                return payload.decode()

    def packets(self) -> Iterator[str]:
        """All until the end."""
        with contextlib.suppress(Closed):
            while True:
                yield self.packet()

    def until(self, start: str) -> str:
        """The next packet that begins so.  Raises Closed."""
        while not (packet := self.packet()).startswith(start):
            pass
        return packet

    def join(self, token: str) -> None:
        """Join the main namespace."""
        self.say("40" + json.dumps({"token": token}))
        self.until("40{")

    def ask(self, number: int, event: str, data: str = "") -> Any:
        """The acknowledgement of an event, by that number.  Raises Closed."""
        self.say(f'42{number}["{event}"{"," if data else ""}{data}]')
        (answer,) = json.loads(self.until(f"43{number}[")[2 + len(str(number)) :])
        return answer


class Honest(WebSocket):
    """Somebody who is served however others behave."""

    def __init__(self, node: LiveNode) -> None:
        super().__init__(node)
        self.join(node.token())
        self._asked = 0

    def check(self) -> None:
        """Fail if it isn't answered."""
        self._asked += 1
        assert self.ask(self._asked, "ping") == "Hello World!"


class Polling:
    """A session on long-polling, whose requests have a connection each."""

    def __init__(self, node: LiveNode) -> None:
        self._node = node
        self.sid = ""
        status, body = self.request("GET")
        assert status == 200, body
        self.sid = json.loads(body[1:])["sid"]

    def request(self, method: str, body: bytes = b"") -> tuple[int, str]:
        """The status of the answer, and what it says."""
        target = POLLING + (f"&sid={self.sid}" if self.sid else "")
        head = f"{method} {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        with Wire(self._node) as wire:
            wire.send(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            answer = wire.rest().decode(errors="replace")
        check_answer(answer)
        first, _, rest = answer.partition("\r\n")
        return int(first.split(" ")[1]), rest.partition("\r\n\r\n")[2]
