"""Socket.IO: what the server emits, and the answers that it asks for."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from parley.socketio.acks import AckTimeout
from parley.socketio.namespaces import encode_event
from parley.socketio.options import Options
from parley.socketio.protocol import CloseReason

from . import Taken, in_virtual_time, settle

# Events of the server


async def test_emit() -> None:
    taken = Taken(name="/custom")
    taken.socket.emit("plain", 1, {"a": [None]})
    taken.socket.emit("binary", b"\x00")
    taken.socket.send(encode_event("/custom", b'["ready"]'))
    assert taken.peer.heard() == [
        '2/custom,["plain",1,{"a":[null]}]',
        '51-/custom,["binary",{"_placeholder":true,"num":0}]',
        b"\x00",
        '2/custom,["ready"]',
    ]


async def test_emit_of_what_has_no_json_form() -> None:
    taken = Taken()
    with pytest.raises(TypeError):
        taken.socket.emit("event", object())
    assert taken.peer.heard() == []


async def test_nothing_is_sent_after_the_end() -> None:
    taken = Taken()
    taken.peer.session.close()
    taken.socket.emit("late")
    taken.socket.send(b'42["late"]')
    taken.socket.disconnect()
    taken.socket.disconnect(close=True)
    assert taken.peer.heard() == []
    assert taken.left == [CloseReason.FORCED]


class Answers(list[Any]):
    """An acknowledgement callback that keeps what it is called with."""

    def __call__(self, answer: list[Any] | AckTimeout) -> None:
        self.append("timeout" if isinstance(answer, AckTimeout) else answer)


async def test_answers_find_their_questions() -> None:
    taken = Taken()
    one, two, three = Answers(), Answers(), Answers()
    for answers in (one, two, three):
        taken.socket.emit("ask", ack=answers)
    ids = [int(str(packet)[1]) for packet in taken.peer.heard()]
    assert len(set(ids)) == 3
    taken.peer.say(f'3{ids[1]}["two",2]', f"3{ids[0]}[]")
    taken.peer.say(f'61-{ids[2]}[{{"_placeholder":true,"num":0}}]')
    taken.peer.attach(b"three")
    assert (one, two, three) == ([[]], [["two", 2]], [[b"three"]])
    taken.peer.say(f"3{ids[0]}[]", "399[]", "30[]")  # again, and made up
    assert one == [[]]
    assert taken.peer.ended == []
    assert len(taken.server.engine.deadlines) == 1  # the heartbeat


@pytest.mark.parametrize("packet", ["3[]", "31", "31{}", "31[", "3[1]"])
async def test_a_bad_answer_ends_the_connection(packet: str) -> None:
    taken = Taken()
    answers = Answers()
    taken.socket.emit("ask", ack=answers)
    taken.peer.say(packet)
    assert taken.peer.ended == [CloseReason.PARSE_ERROR]
    assert answers == ["timeout"]


def test_answers_are_waited_for_as_long_as_asked() -> None:
    async def run() -> None:
        taken = Taken()
        short, long = Answers(), Answers()
        taken.socket.emit("ask", ack=short, timeout=2)
        taken.socket.emit("ask", ack=long, timeout=10)
        await asyncio.sleep(3)
        assert (short, long) == (["timeout"], [])
        taken.peer.say("31[]", "32[]")
        assert (short, long) == (["timeout"], [[]])
        await asyncio.sleep(10)
        assert (short, long) == (["timeout"], [[]])

    in_virtual_time(run())


async def test_the_end_of_the_connection_ends_the_waiting() -> None:
    taken = Taken()
    answers = Answers()
    taken.socket.emit("ask", ack=answers)
    taken.socket.emit("ask", ack=answers)
    taken.peer.session.close()
    assert answers == ["timeout", "timeout"]
    assert len(taken.server.engine.deadlines) == 0


async def test_answers_waited_for_are_bounded() -> None:
    taken = Taken(Options(max_acks=2))
    for _ in range(2):
        taken.socket.emit("ask", ack=Answers())
    with pytest.raises(RuntimeError, match="too many"):
        taken.socket.emit("ask", ack=Answers())
    taken.socket.emit("tell")
    taken.peer.say("31[]")
    taken.socket.emit("ask", ack=Answers())
    assert len(taken.peer.heard()) == 4


async def test_a_failing_callback_does_not_end_the_connection() -> None:
    taken = Taken()

    def fail(answer: object) -> None:
        raise RuntimeError("on purpose")

    taken.socket.emit("ask", ack=fail)
    taken.peer.say("31[]", '2["event"]')
    assert taken.events == [("event", [])]


async def test_a_failing_callback_does_not_keep_the_connection_from_ending() -> None:
    taken = Taken()

    def fail(answer: object) -> None:
        raise RuntimeError("on purpose")

    taken.socket.emit("ask", ack=fail)
    taken.peer.session.close()
    assert taken.left == taken.peer.ended == [CloseReason.FORCED]


async def test_a_callback_may_ask_again_though_the_client_has_gone() -> None:
    taken = Taken()

    def ask(answer: object = None) -> None:
        taken.socket.emit("ask", ack=ask)

    ask()
    taken.peer.session.close()
    assert taken.left == taken.peer.ended == [CloseReason.FORCED]
    assert len(taken.server.engine.deadlines) == 0


async def test_an_answer_nobody_asked_for_is_not_even_read() -> None:
    taken = Taken()
    taken.peer.say("31[not JSON")
    await settle()
    assert taken.peer.ended == []
    answers = Answers()
    taken.socket.emit("ask", ack=answers)
    taken.peer.say("31[not JSON")
    await settle()
    assert taken.peer.ended == [CloseReason.PARSE_ERROR]


async def test_a_question_that_was_not_sent_is_not_waited_for() -> None:
    taken = Taken()
    answers = Answers()
    with pytest.raises(TypeError):
        taken.socket.emit("ask", object(), ack=answers)
    taken.peer.session.close()
    assert answers == []
