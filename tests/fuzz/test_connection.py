"""Connections that send any mix of what is right and what is wrong, in any order."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from tests.services.frames import BINARY, CLOSE, CONTINUATION, PING, TEXT, encode_frame

from .client import Closed, Honest, Polling, WebSocket, Wire
from .inputs import engine_texts, event_arrays, streams
from .live import LiveNode
from .profile import budget

_PROPER = [
    '42["ping"]', '421["ping"]', '42["all messages"]', '422["unreceived messages",{"limit":1}]',
    '42["nobody knows it"]', '452-["ping",{"_placeholder":true,"num":0}]', '41', '3', '40/admin,',
    '423["send message",{"receiver":"00000000-0000-4000-8000-000000000000","message":"hi"}]',
    '424["receive message",{"chatId":"00000000-0000-4000-8000-000000000000"}]',
]  # fmt: skip
_HTTP = st.one_of(
    st.sampled_from(
        [b"", b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01", b"GET /socket.io/?EIO=4&transp",
         b"POST /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nContent-Length: 9\r\n\r\n40{",
         b"OPTIONS /socket.io/ HTTP/1.1\r\nHost: x\r\nOrigin: http://y\r\n\r\n",
         b"GET /socket.io/?EIO=4&transport=websocket&sid=%00 HTTP/1.1\r\nHost: x\r\n\r\n"]
    ),
    st.binary(max_size=200),
)  # fmt: skip
_BODIES = st.one_of(
    st.lists(st.sampled_from(_PROPER), min_size=1, max_size=4).map("\x1e".join),
    st.lists(engine_texts, max_size=4).map("\x1e".join),
).map(lambda text: text.encode(errors="surrogatepass")) | st.binary(max_size=60)


class Hostility(RuleBasedStateMachine):
    """Hostile clients of one node, and an honest one that must be served all the while."""

    node: LiveNode
    websockets = Bundle("websockets")
    pollings = Bundle("pollings")

    def __init__(self) -> None:
        super().__init__()
        self._wires: list[Wire] = []

    @initialize()
    def somebody_is_honest(self) -> None:
        self._honest = Honest(self.node)

    @rule(target=websockets, joins=st.booleans())
    def connect(self, joins: bool) -> WebSocket:
        websocket = WebSocket(self.node)
        self._wires.append(websocket)
        if joins:
            websocket.join(self.node.token())
        return websocket

    @rule(target=pollings, joins=st.booleans())
    def poll(self, joins: bool) -> Polling:
        polling = Polling(self.node)
        if joins:
            polling.request("POST", f'40{{"token":"{self.node.token()}"}}'.encode())
        return polling

    @rule(target=websockets, polling=pollings, probe=st.sampled_from(["2probe", "2probe2", "5"]))
    def upgrade(self, polling: Polling, probe: str) -> WebSocket | None:
        try:
            websocket = WebSocket(self.node, sid=polling.sid)
        except Closed:
            websocket = WebSocket(self.node)
        self._wires.append(websocket)
        websocket.say(probe)
        return websocket

    @rule(websocket=websockets, packets=st.lists(st.sampled_from(_PROPER), max_size=5))
    def say_what_is_right(self, websocket: WebSocket, packets: list[str]) -> None:
        websocket.say(*packets)

    @rule(websocket=websockets, text=engine_texts | event_arrays.map("42{}".format))
    def say_anything(self, websocket: WebSocket, text: str) -> None:
        websocket.say(text)

    @rule(websocket=websockets, data=streams)
    def send_any_frames(self, websocket: WebSocket, data: bytes) -> None:
        websocket.send(data)

    @rule(
        websocket=websockets,
        tiny=st.sampled_from(
            [
                encode_frame(PING),
                encode_frame(TEXT, b"6"),
                encode_frame(CONTINUATION),
                encode_frame(BINARY),
            ]
        ),
        count=st.sampled_from([10, 3_000]),
    )
    def send_tiny_frames(self, websocket: WebSocket, tiny: bytes, count: int) -> None:
        websocket.send(tiny * count)

    @rule(websocket=websockets, code=st.sampled_from([b"", b"\x03\xe8", b"\x03\xec", b"\x0b\xb8x"]))
    def say_goodbye(self, websocket: WebSocket, code: bytes) -> None:
        websocket.send(encode_frame(CLOSE, code))

    @rule(websocket=consumes(websockets), how=st.sampled_from([Wire.close, Wire.reset]))
    def vanish(self, websocket: WebSocket, how: Callable[[Wire], None]) -> None:
        with contextlib.suppress(OSError):
            how(websocket)

    @rule(polling=pollings, body=_BODIES)
    def post(self, polling: Polling, body: bytes) -> None:
        status, _ = polling.request("POST", body)
        assert status in (200, 400)

    @rule(polling=consumes(pollings))
    def end_polling(self, polling: Polling) -> None:
        polling.request("POST", b"1")

    @rule(data=_HTTP)
    def speak_something_else(self, data: bytes) -> None:
        wire = Wire(self.node)
        self._wires.append(wire)
        wire.send(data)

    @invariant()
    def others_are_served(self) -> None:
        if hasattr(self, "_honest"):
            self._honest.check()

    def teardown(self) -> None:
        for wire in self._wires:
            if isinstance(wire, WebSocket) and wire._sock.fileno() >= 0:
                wire.half_close()
                for _ in wire.packets():  # which looks at what they say
                    pass
            wire.close()
        if hasattr(self, "_honest"):
            self._honest.check()
            self._honest.close()


def test_any_sequence(node: LiveNode) -> None:
    class OfThisNode(Hostility):
        def teardown(self) -> None:
            super().teardown()
            end_all_polling(node)
            node.wait_until_idle()

    OfThisNode.node = node
    run_state_machine_as_test(OfThisNode, settings=settings(budget(15), stateful_step_count=30))


def end_all_polling(node: LiveNode) -> None:
    """Sessions on polling live on until their heartbeat; here they end at once."""

    def end() -> None:
        for session in list(node._parley.server.engine.sessions.values()):
            session.close()

    node.within(end)
