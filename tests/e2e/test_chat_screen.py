"""`parley chat` as people meet it: on a terminal, with real servers."""

from __future__ import annotations

import asyncio
import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TypeAlias

import pytest

from parley import devmode
from tests.services.terminal import CTRL_C, CTRL_D, Terminal, on_terminal

from .clients import Devices, texts
from .server import HUSH, ChatServer, new_user, running, without_settings
from .test_store_away import locked

Chat: TypeAlias = Callable[..., Terminal]


@pytest.fixture
def data(tmp_path: Path) -> devmode.DevData:
    """Alice and Bob."""
    return devmode.open_data(tmp_path / ".parley")


@pytest.fixture
def dev(data: devmode.DevData, tmp_path: Path) -> Iterator[ChatServer]:
    """A server that takes their tokens."""
    with running(ChatServer(tmp_path, {"JWT_SECRET_KEY": data.secret})) as server:
        yield server


@pytest.fixture
def chat(tmp_path: Path) -> Iterator[Chat]:
    """Starts ``parley chat`` on terminals, which are gone in the end."""
    with ExitStack() as stack:

        def chat(*arguments: str, kind: str = "xterm-256color", **variables: str) -> Terminal:
            environment = {**without_settings(), **variables}
            return stack.enter_context(
                on_terminal("chat", *arguments, folder=tmp_path, environment=environment, kind=kind)
            )

        yield chat


def test_two_people_talk(dev: ChatServer, chat: Chat) -> None:
    alice = chat("--as", "alice", "--to", "bob", "--url", dev.url)
    alice.wait_for(f"^alice at {dev.url}. /help says what can be typed.$")
    alice.enter(f"{HUSH} שלום 👋")
    alice.enter(f"//{HUSH}")
    bob = chat("--as", "bob", "--to", "alice", "--url", dev.url)

    bob.wait_for(rf"^\d\d:\d\d      alice: {HUSH} שלום 👋$")
    bob.wait_for(rf"^\d\d:\d\d      alice: /{HUSH}$")
    bob.enter(f"{HUSH} too")
    alice.wait_for(rf"^\d\d:\d\d      bob: {HUSH} too$")
    for text in (f"{HUSH} שלום 👋", f"/{HUSH}"):
        alice.wait_for(f"✓✓  (?:→ bob|bob has received): {text}$")

    # Ctrl+D counts when the prompt is there again, below what was printed.
    alice.wait_for(rf"bob: {HUSH} too$\s(?:.*\s)*?^bob>")
    alice.type(CTRL_D)
    bob.enter("/quit")
    assert (alice.wait(), bob.wait()) == (0, 0)
    assert "Traceback" not in alice.text + bob.text


def test_commands(dev: ChatServer, data: devmode.DevData, chat: Chat) -> None:
    alice, stranger = chat("--as", "alice", "--url", dev.url), new_user()
    alice.wait_for("^/to USER>")

    alice.enter(HUSH)
    alice.wait_for("^To whom?")
    alice.enter("/to nobody")
    alice.wait_for("'nobody' is nobody who is known here: write one of alice, bob, or the UUID")
    alice.enter(f"/to {stranger}")
    alice.wait_for(f"^{stranger[:8]}>")
    alice.enter("/list")
    for name, user in (("bob", data.users.bob), (stranger[:8], stranger)):
        alice.wait_for(f"^{name}  {user}$")
    alice.enter("/help")
    alice.wait_for("^  /quit      leave")
    alice.enter("/dance")
    alice.wait_for("^There is no /dance:")
    alice.type("/to bo\t")  # no id begins so
    alice.wait_for("(?s)/to bo(b|.*^b)$")  # the last letter may have been drawn on its own
    alice.enter("")
    alice.wait_for("^bob>")
    alice.type(CTRL_C)
    assert alice.wait() == 0


async def test_what_waited_is_shown_and_is_received_then(
    dev: ChatServer, data: devmode.DevData, devices: Devices, chat: Chat
) -> None:
    sender = await devices.connect(dev)
    await sender.send(str(data.users.alice), f"{HUSH} forges\n12:00 \x1b[2Jbob: a line")

    alice = chat("--as", "alice", "--url", dev.url)

    alice.wait_for(rf"^\d\d:\d\d      {sender.user[:8]}: {HUSH} forges$")
    alice.wait_for("^           12:00 ␛\\[2Jbob: a line$")
    alice.enter("/quit")
    assert alice.wait() == 0
    assert await (await devices.connect(dev, str(data.users.alice))).unreceived() == []


async def test_order_is_kept_while_somebody_types(
    dev: ChatServer, data: devmode.DevData, devices: Devices, chat: Chat
) -> None:
    alice_id = str(data.users.alice)
    bob = await devices.connect(dev, str(data.users.bob))
    alice = chat("--as", "alice", "--to", "bob", "--url", dev.url)
    alice.wait_for("^bob>")
    messages = [f"{number};" for number in range(2_000)]

    sending = asyncio.create_task(bob.send_all(alice_id, messages))
    while not sending.done():
        alice.enter("")  # has the prompt made anew
        await asyncio.sleep(0.01)
    await sending
    alice.enter("/quit")

    assert await asyncio.to_thread(alice.wait) == 0
    # The terminal may show an Enter amid a line.
    shown = re.findall(r"bob:(\d+;)", re.sub(r"\s", "", alice.text))
    unreceived = texts(await (await devices.connect(dev, alice_id)).unreceived())
    assert shown
    assert shown == messages[: len(shown)]
    assert set(messages[len(shown) :]) <= set(unreceived), "what is received was shown"


def test_a_restart_in_between(dev: ChatServer, chat: Chat) -> None:
    alice = chat("--as", "alice", "--to", "bob", "--url", dev.url)
    bob = chat("--as", "bob", "--url", dev.url)
    alice.wait_for("^Connected.$")
    bob.wait_for("^Connected.$")

    dev.kill()
    alice.wait_for(r"^Not connected \(")
    for number in range(7):
        alice.enter(f"{HUSH} {number}")
    alice.wait_for("7 waiting")
    dev.start()

    bob.wait_for(f"alice: {HUSH} 6$")
    bob.enter("/quit")
    assert bob.wait() == 0
    came = [line for line in bob.text.splitlines() if "alice: " in line]
    assert [line.rpartition(" ")[2] for line in came] == [str(number) for number in range(7)]


def test_leaving_with_something_unsent(dev: ChatServer, chat: Chat) -> None:
    alice = chat("--as", "alice", "--to", "bob", "--url", dev.url)
    alice.wait_for("^Connected.$")
    dev.kill()
    alice.wait_for(r"^Not connected \(")
    alice.enter(HUSH)
    alice.wait_for("1 waiting")
    alice.enter("/quit")

    assert alice.wait() == 1
    assert "Not known to be stored: 1 of your messages." in alice.text


def test_a_token_that_is_typed_is_not_shown(dev: ChatServer, chat: Chat) -> None:
    token = dev.token(new_user())
    alice = chat("--token", "-", "--to", "bob", "--url", dev.url)
    alice.wait_for("^Token: ")
    alice.enter(token)
    alice.wait_for("^Connected.$")
    alice.enter("/quit")

    assert alice.wait() == 0
    assert token not in alice.text


def test_a_server_that_is_away(tmp_path: Path, chat: Chat) -> None:
    url = ChatServer(tmp_path).url

    alice = chat("--token", "x", "--url", url)

    assert alice.wait() == 2
    assert alice.text == (
        f"parley: No connection to {url}: nothing listens there. Start a server there (`parley "
        "dev`), or name another with --url.\n"
    )


def test_a_token_that_expires_ends_it_in_one_sentence(dev: ChatServer, chat: Chat) -> None:
    user = new_user()
    alice = chat("--token", dev.token(user, exp=time.time() + 8), "--url", dev.url)
    alice.wait_for("^Connected.$")

    assert alice.wait() == 2
    alice.wait_for(f"^parley: {dev.url} refuses: The token has expired: connect with a new one. Gi")
    assert "Traceback" not in alice.text


@pytest.mark.parametrize("declined", [["--no-color"], []])
def test_colours_can_be_declined(declined: list[str], dev: ChatServer, chat: Chat) -> None:
    variables = {} if declined else {"NO_COLOR": "1"}
    alice = chat("--as", "alice", "--url", dev.url, *declined, **variables)
    alice.wait_for("^Connected.$")
    alice.enter("/quit")

    assert alice.wait() == 0
    assert "\x1b[0;3" not in alice.raw
    assert "\x1b[0;9" not in alice.raw


def test_a_store_that_is_away(dev: ChatServer, chat: Chat) -> None:
    alice = chat("--as", "alice", "--to", "alice", "--url", dev.url)
    alice.wait_for("^Connected.$")
    with locked(dev):
        alice.enter(HUSH)
        alice.wait_for(
            r"^Connected \(The message store does not answer at the moment: try again la"
        )

    alice.wait_for("^Connected.$", 2)
    alice.wait_for(f"alice: {HUSH}$")
    alice.enter("/quit ")
    assert alice.wait() == 0


def test_a_terminal_without_escape_sequences(dev: ChatServer, chat: Chat) -> None:
    alice = chat("--as", "alice", "--to", "bob", "--url", dev.url, kind="dumb")
    bob = chat("--as", "bob", "--to", "alice", "--url", dev.url)
    alice.wait_for("^bob> ")
    bob.wait_for("^Connected.$")

    alice.type(HUSH)
    alice.wait_for(f"^bob> {HUSH}$")
    bob.enter(f"{HUSH} in between")
    alice.wait_for(rf"^\d\d:\d\d      bob: {HUSH} in between$\sbob> {HUSH}$")
    alice.enter(" and more")
    alice.wait_for(rf"^\d\d:\d\d  ✓✓  → bob: {HUSH} and more$")

    alice.enter("/quit")
    assert alice.wait() == 0
    show_cursor = "\x1b[?12l\x1b[?25h"  # prompt_toolkit writes it once, before it knows better
    assert "\x1b" not in alice.raw.removeprefix(show_cursor)


def test_who_ends_it_gets_the_terminal_back(dev: ChatServer, chat: Chat) -> None:
    alice = chat("--as", "alice", "--url", dev.url)
    alice.wait_for("^/to USER>")
    assert not alice.echoes()

    alice.process.send_signal(signal.SIGTERM)

    assert alice.wait() == 128 + signal.SIGTERM
    assert alice.echoes()
    assert "Traceback" not in alice.text
