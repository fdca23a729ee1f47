"""Socket.IO packets: the protocol's own examples, then anything at all."""

from __future__ import annotations

import contextlib
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from parley.socketio.packets import (
    MAX_ACK_ID,
    Packet,
    PacketError,
    PacketType,
    decode,
    decode_array,
    decode_value,
    decode_values,
    encode,
    encode_values,
)

EXAMPLES = {
    b"0": Packet(PacketType.CONNECT, "/", None, b""),
    b'0{"token":"123"}': Packet(PacketType.CONNECT, "/", None, b'{"token":"123"}'),
    b"0/admin,": Packet(PacketType.CONNECT, "/admin", None, b""),
    b'0/admin,{"a":1}': Packet(PacketType.CONNECT, "/admin", None, b'{"a":1}'),
    b"1/admin,": Packet(PacketType.DISCONNECT, "/admin", None, b""),
    b'2["foo"]': Packet(PacketType.EVENT, "/", None, b'["foo"]'),
    b'2/admin,["bar"]': Packet(PacketType.EVENT, "/admin", None, b'["bar"]'),
    b'212["foo"]': Packet(PacketType.EVENT, "/", 12, b'["foo"]'),
    b'2/admin,0["foo"]': Packet(PacketType.EVENT, "/admin", 0, b'["foo"]'),
    b'3/admin,13["bar"]': Packet(PacketType.ACK, "/admin", 13, b'["bar"]'),
    b'4{"message":"no"}': Packet(PacketType.CONNECT_ERROR, "/", None, b'{"message":"no"}'),
    b'51-["baz",{"_placeholder":true,"num":0}]': Packet(
        PacketType.BINARY_EVENT, "/", None, b'["baz",{"_placeholder":true,"num":0}]', 1
    ),
    b"62-/admin,456[1]": Packet(PacketType.BINARY_ACK, "/admin", 456, b"[1]", 2),
}

NOT_PACKETS = {
    "nothing": b"",
    "no type": b"[]",
    "type 7": b"7",
    "binary without a count": b'5["a"]',
    "a count of five digits": b'510000-["a"]',
    "an event with attachments": b'21-["a"]',
    "an acknowledgement with attachments": b"31-1[]",
    "an id beyond JavaScript's integers": b"2%d[]" % (MAX_ACK_ID + 1),
}


@pytest.mark.parametrize("text", EXAMPLES, ids=bytes.decode)
def test_examples_of_the_protocol(text: bytes) -> None:
    assert decode(text) == EXAMPLES[text]


@pytest.mark.parametrize("text", EXAMPLES, ids=bytes.decode)
def test_examples_are_encoded_as_they_were(text: bytes) -> None:
    packet = EXAMPLES[text]
    attachments = packet.attachments or None
    assert encode(packet.type, packet.namespace, packet.id, packet.json, attachments) == text


@pytest.mark.parametrize("text", NOT_PACKETS.values(), ids=NOT_PACKETS)
def test_what_is_no_packet_is_refused(text: bytes) -> None:
    with pytest.raises(PacketError):
        decode(text)


def test_namespace_may_end_the_packet_without_a_comma() -> None:
    assert decode(b"0/admin") == Packet(PacketType.CONNECT, "/admin", None, b"")


def test_largest_acknowledgement_id() -> None:
    assert decode(b"2%d[]" % MAX_ACK_ID).id == MAX_ACK_ID


def test_digits_beyond_an_id_are_not_swallowed() -> None:
    """They are left to the JSON, where they are an error."""
    packet = decode(b'21234567890123456789["a"]')
    with pytest.raises(PacketError):
        decode_array(packet.json)


letters = st.characters(codec="utf-8", exclude_characters=",")
namespaces = st.text(letters).map("/{}".format)


@settings(deadline=None)
@given(
    kind=st.sampled_from(PacketType),
    namespace=namespaces,
    ack_id=st.none() | st.integers(0, MAX_ACK_ID),
    json=st.sampled_from([b"", b"[]", b'["a",1]', b'{"a":"1,2/3-4"}', '["ä"]'.encode()]),
    attachments=st.integers(0, 9999),
)
def test_header_comes_back_as_it_was(
    kind: PacketType, namespace: str, ack_id: int | None, json: bytes, attachments: int
) -> None:
    binary = kind in (PacketType.BINARY_EVENT, PacketType.BINARY_ACK)
    text = encode(kind, namespace, ack_id, json, attachments if binary else None)
    assert decode(text) == Packet(kind, namespace, ack_id, json, attachments if binary else 0)


def read_all(text: bytes, attachments: list[bytes]) -> None:
    """Everything that a server does with a packet."""
    packet = decode(text)
    assert 0 <= packet.attachments <= 9999
    with contextlib.suppress(PacketError):
        decode_value(packet.json)
    decode_values(decode_array(packet.json), attachments)


fragments = st.sampled_from(
    [
        *'0123456789-/,[]{}":',
        "[[",
        '"a"',
        '{"_placeholder":true,"num":',
        "1e999",
        "\\ud800",
        "NaN",
        "\0",
    ]
)


@settings(deadline=None)
@given(
    text=st.text() | st.lists(fragments).map("".join),
    kind=st.sampled_from(["", "2", "2[", "51-", "3/a,1", "9" * 40, "2" + "[" * 2000]),
    attachments=st.lists(st.binary(max_size=3), max_size=2),
)
@example(text="9" * 5000, kind="2[", attachments=[])
@example(text="", kind="2" + "[" * 200_000, attachments=[])
@example(text="[" * 600 + "]" * 600, kind="2", attachments=[b"a"])
@example(text='{"a":' * 600 + "1" + "}" * 600, kind="0", attachments=[])
def test_any_text_is_a_packet_or_a_packet_error(
    text: str, kind: str, attachments: list[bytes]
) -> None:
    with contextlib.suppress(PacketError):
        read_all((kind + text).encode(), attachments)


# Values


def plain(value: Any) -> Any:
    """A value as it looks after its journey."""
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def view(blob: bytes) -> memoryview:
    return memoryview(blob)


blobs = st.binary(max_size=20)
scalars: st.SearchStrategy[Any] = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | blobs
    | blobs.map(bytearray)
    | blobs.map(view)
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(st.text().filter(lambda key: key != "_placeholder"), inner, max_size=4)
    ),
    max_leaves=20,
)


@settings(deadline=None)
@given(
    sent=st.lists(values, max_size=5),
    kind=st.sampled_from([PacketType.EVENT, PacketType.ACK]),
    namespace=namespaces,
    ack_id=st.none() | st.integers(0, MAX_ACK_ID),
)
def test_values_come_back_as_they_were(
    sent: list[Any], kind: PacketType, namespace: str, ack_id: int | None
) -> None:
    text, attachments = encode_values(kind, namespace, ack_id, sent)
    packet = decode(text)
    assert decode_values(decode_array(packet.json), attachments) == plain(sent)
    assert (packet.namespace, packet.id) == (namespace, ack_id)
    assert packet.attachments == len(attachments)
    binary = {PacketType.EVENT: PacketType.BINARY_EVENT, PacketType.ACK: PacketType.BINARY_ACK}
    assert packet.type is (binary[kind] if attachments else kind)


def test_attachments_are_numbered_in_reading_order() -> None:
    sent = [b"0", {"a": [b"1", (b"2",)], "b": bytearray(b"3")}, "x", memoryview(b"4")]
    text, attachments = encode_values(PacketType.EVENT, "/", 7, sent)
    assert attachments == [b"0", b"1", b"2", b"3", b"4"]
    assert text.startswith(b'55-7[{"_placeholder":true,"num":0},{"a":[')


@pytest.mark.parametrize("value", [object(), {1, object()}, {b"key": 1}.keys(), 1j])
def test_value_without_a_json_form_is_a_type_error(value: object) -> None:
    with pytest.raises(TypeError):
        encode_values(PacketType.EVENT, "/", None, ["event", [value]])


def decoded(json: str, *attachments: bytes) -> list[Any]:
    return decode_values(decode_array(json.encode()), attachments)


@pytest.mark.parametrize(
    "number",
    ["-1", "2", "99999999999999999999", "0.0", "1e0", "true", "false", '"0"', "null", "[0]", "{}"],
)
def test_placeholder_that_names_no_attachment_is_refused(number: str) -> None:
    with pytest.raises(PacketError):
        decoded(f'[{{"a":[{{"_placeholder":true,"num":{number}}}]}}]', b"x", b"y")


def test_placeholder_without_a_number_is_refused() -> None:
    with pytest.raises(PacketError):
        decoded('[{"_placeholder":true}]', b"x")


@pytest.mark.parametrize("mark", ["1", '"true"', "null", "false", "[true]"])
def test_only_true_marks_a_placeholder(mark: str) -> None:
    json = f'[{{"_placeholder":{mark},"num":0}}]'
    assert decoded(json, b"x") == msgspec.json.decode(json)


@pytest.mark.parametrize("depth", range(50, 1500, 50))
def test_deep_nesting_is_a_packet_error_if_it_is_too_deep(depth: int) -> None:
    with contextlib.suppress(PacketError):
        decoded("[" * depth + "]" * depth, b"x")


def test_placeholders_are_data_where_there_are_no_attachments() -> None:
    assert decoded('[{"_placeholder":true,"num":0}]') == [{"_placeholder": True, "num": 0}]


def test_attachment_may_be_named_twice_or_never() -> None:
    twice = '[{"_placeholder":true,"num":1},{"_placeholder":true,"num":1,"more":[]}]'
    assert decoded(twice, b"x", b"y") == [b"y", b"y"]
    assert decoded("[1]", b"x") == [1]


def test_half_a_surrogate_pair_spoils_no_more_than_its_own_element() -> None:
    """It is valid JSON, but no text (RFC 8259, section 8.2)."""
    raw = decode_array(b'["event","\\ud800",["x",1.5,null],{"a":"\\ud83d\\ude00"},"\\udc00"]')
    assert [decode_value(raw[at]) for at in (0, 2, 3)] == ["event", ["x", 1.5, None], {"a": "😀"}]
    for at in (1, 4):
        with pytest.raises(PacketError):
            decode_value(raw[at])


@pytest.mark.parametrize(
    "json",
    ["\\ud800", '{"a":"\\ud800"}', '["\\ud800"', '["\\ud800",NaN]', '["\\ud800"]]', '["\\uD"]'],
)
def test_half_a_surrogate_pair_excuses_nothing_else(json: str) -> None:
    with pytest.raises(PacketError):
        decode_array(json.encode())


@pytest.mark.parametrize(
    "json", [b"", b"{}", b"1", b'"a"', b"null", b"[1", b"[1]]", b"[\xff]", b"[,]"]
)
def test_payload_must_be_a_json_array(json: bytes) -> None:
    with pytest.raises(PacketError):
        decode_array(json)


def test_half_a_surrogate_pair_is_looked_for_in_what_is_small() -> None:
    """As large as any text of a chat, were each of its characters escaped; more takes too long."""
    escaped = "\\u00e9" * 10_000
    assert len(decode_array(f'["event","\\ud800","{escaped}"]'.encode())) == 3
    with pytest.raises(PacketError):
        decode_array(f'["event","\\ud800","{escaped * 2}"]'.encode())
