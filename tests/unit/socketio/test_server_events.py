"""Socket.IO: what clients emit, and the answers that they ask for."""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from parley.socketio.events import Event
from parley.socketio.namespaces import Socket
from parley.socketio.options import Options
from parley.socketio.packets import PacketError
from parley.socketio.protocol import CloseReason

from . import Peer, Taken, in_virtual_time, settle

# Events of the client


async def test_arguments_are_any_json() -> None:
    taken = Taken()
    taken.peer.say('2["event"]', '2["event",1,{"a":[null,"ä"]},"x"]', '2 [ "event" ,\n2 ]')
    assert taken.events == [("event", []), ("event", [1, {"a": [None, "ä"]}, "x"]), ("event", [2])]


async def test_arguments_are_decoded_into_types_of_ones_own() -> None:
    taken = Taken()
    seen: list[object] = []

    def handler(socket: Socket, event: Event) -> None:
        seen.append(len(event))
        seen.append(event.decode(msgspec.json.Decoder(int)))
        seen.append(event.decode(msgspec.json.Decoder(list[str]), 1))
        with pytest.raises(msgspec.ValidationError):
            event.decode(msgspec.json.Decoder(str))
        with pytest.raises(IndexError):
            event.decode(msgspec.json.Decoder(int), 2)
        seen.append("all")

    taken.namespace.on("typed")(handler)
    taken.peer.say('2["typed",7,["a"]]')
    assert seen == [2, 7, ["a"], "all"]


@pytest.mark.parametrize(
    "name",
    ['"ping"', '"\\u0070ing"', '"\\u0070\\u0069\\u006e\\u0067"', ' "ping" '],
)
async def test_a_name_may_be_spelt_in_any_way(name: str) -> None:
    taken = Taken()
    taken.namespace.on("ping")(taken.take)
    taken.peer.say(f"2[{name},1]", f"2[{name}]")
    assert taken.events == [("ping", [1]), ("ping", [])]


@pytest.mark.parametrize(
    "name", ["event ä", "", 'quo"te', "sla/sh", "back\\slash", "\t", "1", "__class__"]
)
async def test_a_name_may_be_any_text(name: str) -> None:
    taken = Taken()
    taken.namespace.on(name)(taken.take)
    taken.peer.say(f"2[{json.dumps(name)}]", f"2[{json.dumps(name, ensure_ascii=False)}]")
    assert taken.events == [(name, []), (name, [])]


async def test_a_name_may_be_an_integer() -> None:
    taken = Taken()
    taken.namespace.on("1")(taken.take)
    taken.namespace.on_other(taken.take)
    taken.peer.say("2[1,2]", "2[-5]")
    assert taken.events == [("1", [2]), ("-5", [])]


@pytest.mark.parametrize("name", ["null", "true", "1.5", "[]", '["event"]', "{}"])
@pytest.mark.parametrize("ack_id", ["", "7"])
async def test_a_name_may_be_nothing_else(name: str, ack_id: str) -> None:
    taken = Taken()
    taken.namespace.on_other(taken.take)
    taken.peer.say(f"2{ack_id}[{name}]")
    assert taken.events == []
    assert taken.left == taken.peer.ended == [CloseReason.PARSE_ERROR]


@pytest.mark.parametrize(
    "packet", ["2", "2[]", "2{}", '2"event"', '2["event"', '2["event"]]', "25"]
)
async def test_an_event_must_be_an_array_with_a_name(packet: str) -> None:
    taken = Taken()
    taken.peer.say(packet, '2["event"]')
    assert taken.events == []
    assert taken.peer.ended == [CloseReason.PARSE_ERROR]


async def test_other_events_have_a_handler_of_their_own() -> None:
    taken = Taken()
    taken.namespace.on_other(taken.take)
    taken.peer.say('2["Event",1]', '2["event"]', '2["connect"]')
    assert taken.events == [("Event", [1]), ("event", []), ("connect", [])]


async def test_without_one_they_are_ignored() -> None:
    taken = Taken()
    taken.peer.say('2["unknown"]', '27["unknown"]', '2["event"]')
    assert taken.events == [("event", [])]
    assert taken.peer.heard() == []


async def test_a_namespace_has_handlers_of_its_own() -> None:
    taken = Taken(name="/custom")
    other = taken.server.namespace("/other")
    assert taken.server.namespace("/other") is other
    taken.peer.joined(other)
    taken.peer.say('2/custom,["event",1]', '2/other,["event",2]')
    assert taken.events == [("event", [1])]


# Handlers


def fail(socket: Socket, event: Event) -> None:
    raise RuntimeError("on purpose")


async def fail_later(socket: Socket, event: Event) -> None:
    await asyncio.sleep(0)
    raise RuntimeError("on purpose")


@pytest.mark.parametrize("handler", [fail, fail_later])
async def test_a_failing_handler_is_logged_and_the_connection_lives_on(
    handler: Any, caplog: pytest.LogCaptureFixture
) -> None:
    taken = Taken(Options(max_in_flight=1))
    taken.namespace.on("fail")(handler)
    taken.peer.say('2["fail"]', '2["event"]')
    await settle()
    assert taken.events == [("event", [])]
    assert taken.peer.ended == []
    (record,) = caplog.records
    assert record.exc_info is not None


def refuse(socket: Socket, event: Event) -> None:
    raise PacketError("not in this way")


async def refuse_later(socket: Socket, event: Event) -> None:
    await asyncio.sleep(0)
    raise PacketError("not in this way")


@pytest.mark.parametrize("handler", [refuse, refuse_later])
async def test_a_packet_error_in_a_handler_ends_the_connection(handler: Any) -> None:
    taken = Taken()
    taken.namespace.on("bad")(handler)
    taken.peer.say('2["bad"]')
    await settle()
    assert taken.left == [CloseReason.PARSE_ERROR]


async def test_handlers_that_take_time_go_on_beside_later_events() -> None:
    taken = Taken(Options(max_in_flight=3))
    gate, order = asyncio.Event(), list[str]()

    async def slow(socket: Socket, event: Event) -> None:
        order.append(f"begin {event.args()[0]}")
        await gate.wait()
        order.append(f"end {event.args()[0]}")

    taken.namespace.on("slow")(slow)
    taken.peer.say('2["slow",1]', '2["event"]', '2["slow",2]', '2["slow",3]', '2["slow",4]')
    await settle()
    assert taken.events == [("event", [])]
    assert order == ["begin 1", "begin 2", "begin 3"]  # and no more is read
    assert not taken.peer.transport.reading()
    gate.set()
    await settle()
    assert sorted(order[3:]) == ["begin 4", "end 1", "end 2", "end 3", "end 4"]
    assert taken.peer.transport.reading()


# Acknowledgements that the client asks for


@pytest.mark.parametrize(("name", "prefix"), [("/", ""), ("/custom", "/custom,")])
async def test_acknowledge(name: str, prefix: str) -> None:
    taken = Taken(name=name)
    answers: list[Callable[[Event], None]] = [
        lambda event: event.ack(),
        lambda event: event.ack(1, {"a": None}),
        lambda event: event.ack_json(b'["ready",1]'),
        lambda event: event.ack(b"\x00", [b"\x01"]),
    ]
    taken.namespace.on("ask")(lambda socket, event: answers.pop(0)(event))
    taken.peer.say(*(f'2{prefix}{ack_id}["ask"]' for ack_id in (0, 1, 12, 9007199254740991)))
    binary = '[{"_placeholder":true,"num":0},[{"_placeholder":true,"num":1}]]'
    assert taken.peer.heard() == [
        f"3{prefix}0[]",
        f'3{prefix}1[1,{{"a":null}}]',
        f'3{prefix}12["ready",1]',
        f"62-{prefix}9007199254740991{binary}",
        b"\x00",
        b"\x01",
    ]


async def test_acknowledge_only_once_and_only_if_asked() -> None:
    taken = Taken()
    wanted: list[bool] = []

    def handler(socket: Socket, event: Event) -> None:
        wanted.append(event.wants_ack)
        event.ack(1)
        wanted.append(event.wants_ack)
        event.ack(2)
        event.ack_json(b"[3]")

    taken.namespace.on("ask")(handler)
    taken.peer.say('25["ask"]', '2["ask"]')
    assert taken.peer.heard() == ["35[1]"]
    assert wanted == [True, False, False, False]


async def test_acknowledge_after_the_end_is_dropped() -> None:
    taken = Taken()
    events: list[Event] = []
    taken.namespace.on("ask")(lambda socket, event: events.append(event))
    taken.peer.say('21["ask"]', '22["ask"]')
    taken.peer.session.close()
    events[0].ack(1)
    events[1].ack_json(b"[1]")
    assert taken.peer.heard() == []


# Binary events


async def test_attachments_are_put_in_their_places() -> None:
    taken = Taken()
    holes = ['{"_placeholder":true,"num":1}', '{"a":[{"num":0,"_placeholder":true}]}']
    taken.peer.say(f'52-["event",{holes[0]},{holes[1]}]')
    taken.peer.attach(b"first")
    assert taken.events == []
    taken.peer.attach(b"\x00second")
    assert taken.events == [("event", [b"\x00second", {"a": [b"first"]}])]
    assert len(taken.server.engine.deadlines) == 1  # the heartbeat


async def test_an_event_tells_whether_it_is_binary() -> None:
    taken = Taken()
    seen: list[bool] = []
    taken.namespace.on("event")(lambda socket, event: seen.append(bool(event.attachments)))
    taken.peer.say('2["event"]', '51-7["event",{"_placeholder":true,"num":0}]')
    taken.peer.attach(b"")
    assert seen == [False, True]


async def test_a_binary_event_may_have_no_attachments() -> None:
    taken = Taken()
    taken.peer.say('50-["event",1]', '2["event",2]')
    assert taken.events == [("event", [1]), ("event", [2])]


@pytest.mark.parametrize(
    "scene",
    [
        lambda peer: peer.attach(b"of nothing"),
        lambda peer: (peer.say('51-["event",0]'), peer.say('2["event"]')),
        lambda peer: (peer.say('51-["event",0]'), peer.say("1")),
        lambda peer: peer.say('511-["event"]'),
        lambda peer: (peer.say("61-[0]"), peer.attach(b"without an id")),
        lambda peer: (peer.say("51-[]"), peer.attach(b"without a name")),
        lambda peer: (peer.say('51-["event"'), peer.attach(b"not JSON")),
        lambda peer: (
            peer.say('51-["event",{"_placeholder":true,"num":1}]'),
            peer.attach(b"another's number"),
        ),
        lambda peer: (peer.say('51-["event",0]'), peer.attach(b"x", b"one too many")),
        lambda peer: peer.say('51-/other,["event",0]'),
    ],
)
async def test_breach_of_the_protocol_of_attachments(scene: Callable[[Peer], object]) -> None:
    taken = Taken()
    scene(taken.peer)
    assert taken.peer.ended == [CloseReason.PARSE_ERROR]
    assert len(taken.server.engine.deadlines) == 0


async def test_attachments_up_to_the_bound() -> None:
    taken = Taken(Options(max_attachments=2))
    taken.peer.say('52-["event"]')
    taken.peer.attach(b"a", b"b")
    assert taken.events == [("event", [])]
    taken.peer.say('53-["event"]')
    assert taken.peer.ended == [CloseReason.PARSE_ERROR]


async def test_all_attachments_of_a_packet_are_together_no_larger_than_a_message() -> None:
    taken = Taken(Options(max_payload=10))
    taken.peer.say('52-["event"]')
    taken.peer.attach(b"x" * 4, b"x" * 6)
    assert taken.events == [("event", [])]
    taken.peer.say('53-["event"]')
    taken.peer.attach(b"x" * 4, b"x" * 7)
    assert taken.peer.ended == [CloseReason.PARSE_ERROR]
    assert len(taken.events) == 1


def test_attachments_must_come_in_time() -> None:
    async def run() -> None:
        taken = Taken()
        taken.peer.say('52-["event"]')
        taken.peer.attach(b"a")
        await asyncio.sleep(11)
        assert taken.peer.ended == [CloseReason.PARSE_ERROR]
        assert taken.events == []

    in_virtual_time(run())


async def test_a_handler_under_way_is_not_garbage() -> None:
    taken = Taken()
    lost: list[bool] = []

    async def wait(socket: Socket, event: Event) -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            lost.append(True)

    taken.namespace.on("wait")(wait)
    taken.peer.say('2["wait"]')
    await settle()
    gc.collect()
    assert lost == []
