"""The load generator sees what a server does, right or wrong."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import sys
from pathlib import Path

import pytest

from bench.load import chat, connects
from bench.load.options import ChatOptions, ConnectsOptions, parse
from bench.load.report import AnyReport, ChatReport, ConnectsReport, IdleReport, decode
from tests.e2e.server import PATIENCE, ChatServer, wait_until

from .flawed import Flaw, flawed_server

ROOT = Path(__file__).parents[2]
SECRET = "the-secret-of-a-server-that-checks-nothing"
BRIEF_IDLE = ("--settle", "0.05", "--seconds", "0.1")
BRIEF = ("--warmup", "0.05", "--seconds", "0.1")
HASTY = (*BRIEF, "--lost-after", "0.15")
"""Also about what is lost; a server without a flaw may need longer on a busy machine."""


async def test_every_message_is_counted(server: ChatServer) -> None:
    traffic = ("--pairs", "4", "--receipts", "--acknowledgements")
    report = await _measure(server, "chat", *traffic, "--warmup", "0.1", "--seconds", "0.2")
    assert isinstance(report, ChatReport)
    assert report.connections == 8
    assert 0 < report.sent <= report.sent_in_all == _count(server, "chats")
    assert report.delivered > 0
    assert report.acknowledged > 0
    assert report.delivered_per_s == pytest.approx(report.delivered / report.seconds, rel=0.01)
    wait_until(
        lambda: _count(server, "chats WHERE received") == report.sent_in_all,
        lambda: "a receipt has not arrived",
    )
    _check_usage(report)


async def test_a_schedule_is_kept(server: ChatServer) -> None:
    before = _count(server, "chats")
    site = ("--url", server.url, "--secret", server.secret, "--pairs", "2", "--rate", "200")
    report = await _chat(*site, "--warmup", "0.05", "--seconds", "0.25")
    assert report.sent_in_all == _count(server, "chats") - before
    # However late it may be, it never sends what is not due yet. The first one is due at once.
    assert 0 < report.sent_in_all <= 61
    assert report.latency.p50_ms is not None
    assert report.acknowledged == 0


@pytest.mark.parametrize(
    "transport",
    [("websocket",), ("upgrade",), ("upgrade", "--keep-alive")],
    ids=["websocket", "upgrade", "upgrade-keep-alive"],
)
async def test_connections_are_opened_and_closed(
    server: ChatServer, transport: tuple[str, ...]
) -> None:
    before = await asyncio.to_thread(server.metrics)
    report = await _connects(server, server.secret, "--connects", "20", "--transport", *transport)
    after = await asyncio.to_thread(server.metrics)
    assert report.flawless, report.problems
    assert report.connections == 20
    assert report.latency.p50_ms is not None
    closed = 'parley_connections_closed_total{reason="transport close"}'
    assert after[closed] - before[closed] == 20


@pytest.mark.parametrize("transport", ["websocket", "upgrade"])
async def test_refused_connections_are_told(server: ChatServer, transport: str) -> None:
    report = await _connects(server, SECRET, "--connects", "5", "--transport", transport)
    assert report.connections == 0
    assert report.errors == 5
    assert all("signature" in problem for problem in report.problems)


async def test_connections_are_held(server: ChatServer) -> None:
    report = await _measure(server, "idle", "--connections", "30", *BRIEF_IDLE)
    assert isinstance(report, IdleReport)
    assert report.connections == 30
    assert report.memory_per_connection_bytes.keys() == {"server", "generator"}
    assert report.idle_cpu_percent["server"] is not None
    _check_usage(report)


async def test_the_exit_status_tells_of_a_flaw() -> None:
    async with flawed_server(Flaw.REPEAT) as url:
        status, output = await _run("chat", "--url", url, "--secret", SECRET, *BRIEF)
    assert status == 1, output
    assert not decode(output).flawless


@pytest.mark.parametrize(
    ("flaw", "field"),
    [
        (Flaw.LOSS, "lost"),
        (Flaw.REPEAT, "duplicated"),
        (Flaw.DISORDER, "reordered"),
        (Flaw.NO_ACKNOWLEDGEMENT, "unacknowledged"),
    ],
)
async def test_a_flaw_is_counted(flaw: Flaw, field: str) -> None:
    report = await _chat_with(flaw)
    assert getattr(report, field) == 1
    assert not report.flawless


async def test_what_queues_in_a_slow_server_is_waited_for() -> None:
    # 50 messages a second of 300, which takes it a second longer; nothing is lost for that.
    report = await _overload("--lost-after", "0.5")
    assert not report.kept_up
    assert (report.undelivered, report.lost, report.late) == (0, 0, 0)
    assert report.flawless


async def test_what_queues_for_too_long_is_undelivered_and_not_lost() -> None:
    report = await _overload("--lost-after", "0.5", "--drain", "0.1")
    assert report.undelivered > 0
    assert (report.lost, report.unacknowledged) == (0, 0)
    assert report.flawless


async def test_a_loss_on_a_schedule_is_told_of_a_server_that_keeps_up() -> None:
    report = await _chat_with(Flaw.LOSS, "--rate", "200", "--seconds", "1")
    assert report.kept_up
    assert (report.lost, report.undelivered) == (1, 0)


@pytest.mark.parametrize(
    ("flaw", "problem"),
    [
        (Flaw.ERROR_EVENT, '42["error",{"code":"a_code"}]'),
        (Flaw.ERROR_ACKNOWLEDGEMENT, "an acknowledgement with an error"),
        (Flaw.DISCONNECT, "disconnected"),
    ],
)
async def test_an_error_is_told(flaw: Flaw, problem: str) -> None:
    report = await _chat_with(flaw)
    assert report.problems[problem] == report.errors == 1
    assert not report.flawless


async def test_a_message_in_the_place_of_another_is_told() -> None:
    report = await _chat_with(Flaw.FOREIGN)
    assert report.problems == {"a message that nobody has sent": 1}
    assert report.lost == 1


async def test_nothing_is_measured_if_clients_are_refused() -> None:
    with pytest.raises(chat.NotConnectedError, match=r'44\{"message":"no"\}'):
        await _chat_with(Flaw.REFUSAL)


@pytest.mark.parametrize(
    "url", ["http://192.0.2.1:3000", "https://127.0.0.1:3000", "http://127.0.0.1", "nonsense"]
)
def test_only_servers_of_this_machine_are_put_under_load(
    url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parse(["chat", "--secret", SECRET, "--url", url])
    assert "not of the form http://127.0.0.1:PORT" in capsys.readouterr().err


async def _chat_with(flaw: Flaw, *more: str) -> ChatReport:
    """A short run against a server with a flaw."""
    async with flawed_server(flaw) as url:
        site = ("--url", url, "--secret", SECRET, "--pairs", "1", "--acknowledgements")
        return await _chat(*site, *HASTY, *more)


async def _overload(*more: str) -> ChatReport:
    """A schedule that is too fast for a slow server, which loses nothing."""
    return await _chat_with(Flaw.SLOWNESS, "--rate", "300", "--seconds", "0.15", *more)


async def _chat(*arguments: str) -> ChatReport:
    """A run within this process."""
    options = parse(["chat", *arguments])
    assert isinstance(options, ChatOptions)
    return await chat.run(options)


async def _connects(server: ChatServer, secret: str, *arguments: str) -> ConnectsReport:
    """A run within this process, with tokens that are signed with ``secret``."""
    options = parse(["connects", "--url", server.url, "--secret", secret, *arguments])
    assert isinstance(options, ConnectsOptions)
    return await connects.run(options)


async def _measure(server: ChatServer, mode: str, *arguments: str) -> AnyReport:
    """The report of a run against a real server, which must be flawless."""
    site = ("--url", server.url, "--secret", server.secret, "--pid", f"server={server.pid}")
    status, output = await _run(mode, *site, *arguments)
    assert status == 0, output
    return decode(output)


async def _run(*arguments: str) -> tuple[int, str]:
    """Exit status and output of a generator of its own."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.load", *arguments),
        cwd=ROOT,
        env=os.environ,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        output, _ = await asyncio.wait_for(process.communicate(), 3 * PATIENCE)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return process.returncode, output.decode()


def _check_usage(report: AnyReport) -> None:
    """It tells what the server and the generator have used."""
    assert report.usage.keys() == report.memory_bytes.keys() == {"server", "generator"}
    for name, usage in report.usage.items():
        assert usage.cpu_us is not None
        assert usage.system_us is not None
        assert usage.cpu_us >= usage.system_us >= 0
        assert usage.cpu_us > 0
        memory = report.memory_bytes[name]
        assert memory is not None
        assert memory > 0


def _count(server: ChatServer, rows: str) -> int:
    connection = sqlite3.connect(server.database)
    try:
        (count,) = connection.execute(f"SELECT count(*) FROM {rows}").fetchone()  # noqa: S608
    finally:
        connection.close()
    return int(count)
