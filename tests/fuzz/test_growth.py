"""What hostile clients leave behind, round by round: nothing."""

from __future__ import annotations

import gc
import tracemalloc

from tests.services.frames import PING, TEXT, encode_frame

from .client import Honest, WebSocket
from .live import LiveNode

ROUNDS = 250
"""Enough for whatever keeps a bounded number of things, such as sqlite3's notes of its cursors."""
ALLOWED = 200
"""Bytes of growth for each round that count as none: less than the least that there is to a
connection, and more than the deadlines of a few seconds."""


def one_round(node: LiveNode, token: str, number: int) -> None:
    """Somebody who does a bit of everything, and goes in another way each time."""
    with WebSocket(node) as client:
        client.say("40/nowhere,")
        client.join(token)
        client.say(f'42["{"x" * 1_000}{number}"]', '421["send message",{}]')
        client.send(encode_frame(PING, b"x") * 50)
        client.say('453-["ping"]')
        client.send(encode_frame(TEXT, b"half a message", final=False))
        client.send(b"\x81\xfe")
        if number % 3 == 0:
            client.send(b"\xff" * 10)
        if number % 3 == 1:
            client.half_close()
            for _ in client.packets():
                pass
        else:
            client.reset()


def kept(node: LiveNode) -> int:
    """Bytes that this process keeps."""
    node.within(gc.collect)
    return tracemalloc.get_traced_memory()[0]


def test_no_memory_is_kept(node: LiveNode, honest: Honest) -> None:
    token = node.token()
    tracemalloc.start()
    try:
        sizes = []
        for _ in range(3):
            for number in range(ROUNDS):
                one_round(node, token, number)
            node.wait_until_idle(connections=1)
            sizes.append(kept(node))
    finally:
        tracemalloc.stop()
    assert sizes[2] - sizes[1] < ROUNDS * ALLOWED, sizes
