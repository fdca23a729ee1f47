"""A server that isn't PostgreSQL, or is broken: the store is away then, and no more than that."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from parley.model import UserId
from parley.store.postgres import PostgresStore
from parley.store.postgres_connect import FAILURES, PostgresOptions, connect
from parley.store.postgres_wire import MAX_ANSWER, Row, Wire
from tests.unit.chat import ALICE, new_chat

from .inputs import cuts, pieces
from .profile import budget
from .servers import serving
from .watching import no_errors

PATIENCE = 10
READY = b"Z\x00\x00\x00\x05I"


def message(kind: bytes, body: bytes = b"") -> bytes:
    return kind + struct.pack("!I", 4 + len(body)) + body


def row(*values: bytes | None) -> bytes:
    cells = (
        b"\xff\xff\xff\xff" if value is None else struct.pack("!I", len(value)) + value
        for value in values
    )
    return message(b"D", struct.pack("!h", len(values)) + b"".join(cells))


def error(**fields: str) -> bytes:
    return message(b"E", b"".join(f"{k}{v}\0".encode() for k, v in fields.items()) + b"\0")


_bodies = st.binary(max_size=30)
_sized = st.one_of(
    st.builds(message, st.sampled_from([b"D", b"E", b"Z", b"C", b"N", b"1", b"2", b"t"]), _bodies),
    st.lists(st.none() | _bodies, max_size=3).map(lambda values: row(*values)),
    st.dictionaries(
        st.sampled_from("SVCMDHFLRpq"),
        st.sampled_from(["", "ERROR", "42501", "00000", "01000", "x"]),
    ).map(lambda fields: error(**fields)),
    st.just(READY),
)
"""Messages whose sizes are right, whatever is in them."""
_messages = st.one_of(
    _sized,
    _sized,
    st.builds(
        lambda kind, length: kind + struct.pack("!I", length),
        st.sampled_from([b"D", b"E", b"Z", b"C"]),
        st.integers(0, 40) | st.integers(2**31 - 5, 2**32 - 1),
    ),
    st.binary(max_size=8),
)
answers = st.lists(_messages, max_size=6).map(b"".join)

GREETING = (
    message(b"R", struct.pack("!I", 0))
    + b"".join(
        message(b"S", f"{name}\0{value}\0".encode())
        for name, value in (
            ("server_version", "18.0"),
            ("client_encoding", "UTF8"),
            ("in_hot_standby", "off"),
            ("default_transaction_read_only", "off"),
        )
    )
    + message(b"K", struct.pack("!II", 1, 1))
    + READY
)


@contextlib.asynccontextmanager
async def server(
    answer: list[bytes], *, patience: float = PATIENCE
) -> AsyncIterator[PostgresOptions]:
    """Lets everybody in, sends ``answer`` to whatever is asked then, and hangs up."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        (size,) = struct.unpack("!I", await reader.readexactly(4))
        await reader.readexactly(size - 4)
        writer.write(GREETING)
        if await reader.read(100_000):
            for piece in answer:
                writer.write(piece)
                await writer.drain()

    async with serving(talk) as port:
        yield PostgresOptions(
            host="127.0.0.1", port=port, user="u", database="d", tls="disable", timeout=patience
        )


async def asked(answer: list[bytes]) -> list[Row]:
    """What a statement returns whose answer is that."""
    async with server(answer) as options:
        wire = Wire(await connect(options), keep=True)
        try:
            async with asyncio.timeout(PATIENCE):
                return await wire.run("SELECT 1", [])
        finally:
            wire.abort(ConnectionError())


@budget(200)
@given(answers, cuts)
@example(b"D\0\0\0\0", [60])
@example(b"D\0\0\0\x05\0", [60])
@example(row(b"a")[:-1] + b"\xff" + READY, [60])
@example(message(b"D", b"\x00\x01\x00\x00\x00\x05ab") + READY, [60])
@example(message(b"D", b"\xff\xff") + READY, [3])
@example(error() + READY, [60])
@example(error(C="00000", M="well") + READY, [60])
@example(error(C="01000", M="well") + READY, [60])
@example(READY * 3, [60])
def test_any_answer(answer: bytes, sizes: list[int]) -> None:
    """Rows, or an error that tells the store that the server is away."""

    async def main() -> None:
        with contextlib.suppress(*FAILURES):
            for found in await asked(pieces(answer, sizes)):
                assert all(cell is None or isinstance(cell, str) for cell in found)

    with no_errors():
        asyncio.run(main())


NAMED = {
    "a message without a size": b"D\0\0\0\0",
    "a row that ends early": message(b"D", b"\x00\x02\x00\x00\x00\x01a"),
    "a row with too much in it": message(b"D", b"\x00\x01\x00\x00\x00\x01abc"),
    "a cell that is longer than its row": message(b"D", b"\x00\x01\x00\x00\x00\x09ab"),
    "fewer cells than none": message(b"D", b"\xff\xff"),
    "text that is none": row(b"\xff\xfe"),
    "an error that is a warning": error(C="01000", M="fine"),
}


@pytest.mark.parametrize("answer", NAMED.values(), ids=NAMED)
async def test_what_is_no_answer_counts_as_a_lost_connection(answer: bytes) -> None:
    with no_errors(), pytest.raises(ConnectionError):
        await asked([answer + READY])


async def test_an_answer_without_an_end_is_not_kept() -> None:
    rows = row(bytes(100_000))
    with pytest.raises(ConnectionError, match="without an end"):
        await asked([rows] * (MAX_ANSWER // len(rows) + 20))


async def test_a_message_without_an_end_is_not_kept() -> None:
    part = bytes(1 << 20)
    with pytest.raises(ConnectionError, match="without an end"):
        await asked([b"D\xff\xff\xff\xff", *[part] * ((MAX_ANSWER >> 20) + 5)])


async def test_a_large_message_in_small_pieces_is_read() -> None:
    cell = b"x" * 3_000_000
    assert await asked(pieces(row(cell) + READY, [1_000])) == [(cell.decode(),)]


_answers_of_a_driver = st.lists(_sized, max_size=4).map(b"".join)
"""What the driver reads too.  A size below 4 it looks at for ever, which only it can put right."""


@budget(25)
@given(_answers_of_a_driver)
@example(row(b"1") + message(b"C", b"SELECT 1\0") + READY)
def test_a_store_on_any_server(answer: bytes) -> None:
    """Whoever asks it for something is answered, if only by an error; nobody waits for ever."""

    async def main() -> None:
        async with server([answer], patience=0.5) as options:
            store = PostgresStore(options)
            for work in (
                store.heads([UserId(ALICE)]),
                store.commit([new_chat(ALICE)], []),
                store.ping(),
            ):
                done, _ = await asyncio.wait({asyncio.ensure_future(work)}, timeout=PATIENCE)
                (task,) = done
                assert isinstance(task.exception(), Exception | None)
            await store.close()

    asyncio.run(main())
