"""`parley chat` in pipes: an operator's quickest check."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest

from parley import devmode
from tests.services.ports import free_port

from .clients import Devices, texts
from .server import HUSH, PATIENCE, ChatServer, new_user, without_settings
from .test_store_away import locked

Chat: TypeAlias = Callable[..., "subprocess.CompletedProcess[bytes]"]

UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"


@pytest.fixture
def chat(tmp_path: Path) -> Chat:
    """Runs ``parley chat`` in an empty directory, with something in its pipe."""

    def chat(
        *arguments: str, stdin: bytes = b"", **variables: str
    ) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [sys.executable, "-m", "parley", "chat", *arguments],
            cwd=tmp_path,
            env={**without_settings(), "PYTHONUTF8": "1", **variables},
            input=stdin,
            capture_output=True,
            timeout=6 * PATIENCE,
            check=False,
        )

    return chat


def test_each_line_is_stored_and_told(server: ChatServer, chat: Chat) -> None:
    user, other = new_user(), new_user()
    lines = f"{HUSH} one\n\n{HUSH} 👋 \u05e9\r\n{HUSH} ".encode() + b"\xff"

    done = chat(
        "--as", user, "--to", other, "--url", server.url, stdin=lines, JWT_SECRET_KEY=server.secret
    )

    assert (done.returncode, done.stderr) == (0, b"")
    told = re.findall(rf"^stored  {UUID}  (.*)$", done.stdout.decode(), re.MULTILINE)
    assert told == [f"{HUSH} one", f"{HUSH} 👋 \u05e9", f"{HUSH} \N{REPLACEMENT CHARACTER}"]


async def test_the_receiver_gets_them_and_nothing_of_the_sender_is_marked_received(
    server: ChatServer, devices: Devices, chat: Chat
) -> None:
    ann, bob = await devices.connect(server), await devices.connect(server)
    await bob.send(ann.user, f"{HUSH} unseen")

    done = chat(
        *("--to", bob.user, "--url", server.url, "--token", server.token(ann.user)),
        stdin=HUSH.encode(),
    )

    assert done.returncode == 0
    assert texts(await bob.wait("message")) == [HUSH]
    assert texts(await ann.unreceived()) == [f"{HUSH} unseen"]


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_a_token_from_the_pipe(server: ChatServer, chat: Chat, ending: str) -> None:
    """Where nobody sees it in a list of processes; what follows is sent."""
    first = f"{server.token(new_user())}{ending}".encode()

    done = chat(
        *("--token", "-", "--to", new_user(), "--url", server.url),
        stdin=first + f"{HUSH} one\n{HUSH} two".encode(),
    )

    assert (done.returncode, done.stderr) == (0, b"")
    assert re.findall(rf"^stored  {UUID}  {HUSH} (.*)$", done.stdout.decode(), re.MULTILINE) == [
        "one",
        "two",
    ]


def test_a_token_from_a_variable(server: ChatServer, chat: Chat) -> None:
    to = ("--to", new_user(), "--url", server.url)

    done = chat(*to, PARLEY_TOKEN=server.token(new_user()))
    assert (done.returncode, done.stderr) == (0, b"")

    named = chat(*to, "--token", server.token(new_user()), PARLEY_TOKEN="another")
    assert (named.returncode, named.stderr) == (0, b"")

    signed = chat(
        *to, "--as", new_user(), PARLEY_TOKEN="of somebody else", JWT_SECRET_KEY=server.secret
    )
    assert (signed.returncode, signed.stderr) == (0, b"")

    blank = chat(*to, PARLEY_TOKEN="")
    assert blank.returncode == 2
    assert b"Say who you are" in blank.stderr


def test_names_and_secret_of_dev(tmp_path: Path, chat: Chat) -> None:
    data = devmode.open_data(tmp_path / ".parley")
    server = ChatServer(tmp_path, {"JWT_SECRET_KEY": data.secret})
    try:
        server.start()
        done = chat(
            *("--as", "alice", "--to", "Bob", "--url", server.url),
            stdin=HUSH.encode(),
            JWT_SECRET_KEY="that of another server, which doesn't matter to Alice",
        )
    finally:
        server.stop()

    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.startswith(b"stored  ")


def test_no_lines_check_the_connection(server: ChatServer, chat: Chat) -> None:
    done = chat("--to", new_user(), "--url", server.url, "--token", server.token(new_user()))

    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_what_is_refused_is_told_and_the_rest_is_sent(server: ChatServer, chat: Chat) -> None:
    lines = f"{HUSH * 5_000}\n{HUSH}\n".encode()

    done = chat(
        *("--to", new_user(), "--url", server.url, "--token", server.token(new_user())),
        stdin=lines,
    )

    assert done.returncode == 1
    assert done.stdout.count(b"stored  ") == 1
    assert b"Not stored: hushhush" in done.stderr
    assert b"message must have at most 10000 characters" in done.stderr


def test_a_store_that_is_away(server: ChatServer, chat: Chat) -> None:
    token = server.token(new_user())
    with locked(server):
        done = chat(
            *("--to", new_user(), "--url", server.url, "--token", token, "--timeout", "7"),
            stdin=HUSH.encode(),
        )

    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.decode() == (
        "parley: Not known to be stored within 7 s: The message store does not answer at the "
        "moment: try again later.\n"
    )


def test_a_proxy_is_not_asked_for_this_machine(server: ChatServer, chat: Chat) -> None:
    proxy = f"http://127.0.0.1:{free_port()}"

    done = chat(
        *("--to", new_user(), "--url", server.url, "--token", server.token(new_user())),
        http_proxy=proxy,
        https_proxy=proxy,
    )

    assert (done.returncode, done.stderr) == (0, b"")


def test_a_proxy_that_cannot_be_used(chat: Chat) -> None:
    done = chat(
        *("--to", new_user(), "--url", "https://chat.invalid", "--token", "x", "--timeout", "0.5"),
        https_proxy="ftp://proxy.invalid",
    )

    assert done.returncode == 1
    assert b"No connection within 0.5 s: the proxy that is set here is of no use: " in done.stderr


def test_a_server_that_is_away(chat: Chat) -> None:
    url = f"http://127.0.0.1:{free_port()}"

    done = chat(
        *("--as", new_user(), "--to", new_user(), "--url", url, "--timeout", "0.5"),
        stdin=b"hi\n",
        JWT_SECRET_KEY="x" * 32,
    )

    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr == b"parley: No connection within 0.5 s: nothing listens there.\n"


def test_it_ends_although_its_input_does_not(tmp_path: Path) -> None:
    arguments = f"--as {new_user()} --to {new_user()} --timeout 0.5".split()
    with subprocess.Popen(
        [sys.executable, "-m", "parley", "chat", *arguments, "--url", f"localhost:{free_port()}"],
        cwd=tmp_path,
        env={**without_settings(), "JWT_SECRET_KEY": "x" * 32},
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.wait(6 * PATIENCE) == 1
        assert process.stderr is not None
        assert process.stderr.read().startswith(b"parley: No connection within 0.5 s: ")


@pytest.mark.parametrize("unread", [{"stdout"}, {"stderr"}, {"stdout", "stderr"}])
async def test_all_is_sent_although_nobody_reads_what_is_told(
    unread: set[str], server: ChatServer, devices: Devices, tmp_path: Path
) -> None:
    bob = await devices.connect(server)
    reader, nobody = os.pipe()
    os.close(reader)
    arguments = ["--to", bob.user, "--url", server.url, "--token", server.token(new_user())]
    chat = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "parley", "chat", *arguments),
        cwd=tmp_path,
        env=without_settings(),
        stdin=subprocess.PIPE,
        stdout=nobody if "stdout" in unread else subprocess.PIPE,
        stderr=nobody if "stderr" in unread else subprocess.PIPE,
    )
    os.close(nobody)

    lines = f"{HUSH} 1\n{HUSH * 5_000}\n{HUSH} 2\n".encode()
    async with asyncio.timeout(6 * PATIENCE):
        stdout, stderr = await chat.communicate(lines)

    assert chat.returncode == 1, "one is too long"
    assert "stdout" in unread or stdout.count(b"stored  ") == 2
    assert "stderr" in unread or stderr.count(b"\n") == 1
    assert texts(await bob.wait("message", 2)) == [f"{HUSH} 1", f"{HUSH} 2"]


@pytest.mark.parametrize(
    ("redirect", "status", "message"),
    [
        ("<&-", 2, "The standard input is closed: pipe in the lines that are to be sent."),
        ("0>unreadable", 1, "The input cannot be read: Bad file descriptor."),
    ],
)
def test_without_an_input(
    redirect: str, status: int, message: str, server: ChatServer, tmp_path: Path
) -> None:
    command = f'exec "$@" {redirect}'
    arguments = ["--to", new_user(), "--url", server.url, "--token", server.token(new_user())]

    done = subprocess.run(
        ["sh", "-c", command, "sh", sys.executable, "-m", "parley", "chat", *arguments],
        cwd=tmp_path,
        env=without_settings(),
        capture_output=True,
        text=True,
        timeout=6 * PATIENCE,
        check=False,
    )

    assert (done.returncode, done.stdout, done.stderr) == (status, "", f"parley: {message}\n")


def test_an_open_input_when_the_token_is_refused(server: ChatServer, tmp_path: Path) -> None:
    arguments = ["--to", new_user(), "--url", server.url, "--token", "nonsense"]
    with subprocess.Popen(
        [sys.executable, "-m", "parley", "chat", *arguments],
        cwd=tmp_path,
        env=without_settings(),
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.wait(6 * PATIENCE) == 2
        assert process.stderr is not None
        told = process.stderr.read().decode()
    assert told.startswith(f"parley: {server.url} refuses: The token was refused: it is not a JSON")
    assert told.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--as alice --to {user}", "'alice' is nobody who is known here: write the UUID of a user"),
        ("--as {user} --to bob", "'bob' is nobody who is known here: write the UUID of a user"),
        ("--as {user}", "JWT_SECRET_KEY is missing"),
        ("--as {user} --data nowhere", "There is no secret in nowhere: run `parley dev --data"),
        ("--to {user}", "Say who you are: --as USER, or a token in the variable PARLEY_TOKEN"),
        ("--as {user} --token x --to {user}", "Give --as or --token, not both"),
        ("--token x", "Say whom the lines are for: --to USER."),
        ("--token - --to {user}", "No token came on the standard input"),
        ("--token x --to {user} --url ftp://x", "ftp://x is not the address of a server"),
        ("--token x --to {user} --timeout soon", "'soon' is no number of seconds"),
    ],
)
def test_what_is_wrong_is_said(arguments: str, message: str, chat: Chat, tmp_path: Path) -> None:
    done = chat(*arguments.format(user=new_user()).split(), stdin=b"\nhi\n")

    assert (done.returncode, done.stdout) == (2, b"")
    assert message in done.stderr.decode()
    assert b"Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == [], "nothing is made"
