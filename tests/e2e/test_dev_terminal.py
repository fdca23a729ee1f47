"""`parley dev` on a terminal: a short banner, then a line for each event."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeAlias

import jwt
import pytest

from parley import devmode
from tests.services.terminal import Terminal, on_terminal

from .clients import Devices
from .server import HUSH, TOKEN_START, without_settings

TIME = r"^\d\d:\d\d:\d\d"
COLOUR = re.compile(r"\x1b\[[\d;]*m")


class DevServer:
    """Where clients connect."""

    def __init__(self, terminal: Terminal, data: devmode.DevData) -> None:
        self.terminal = terminal
        self.data = data
        [self.url] = terminal.wait_for(r"^Parley is running at (\S+)$")

    def token(self, user: str, **claims: Any) -> str:
        return jwt.encode({"sub": user, **claims}, self.data.secret, algorithm="HS256")


StartDev: TypeAlias = Callable[..., DevServer]


@pytest.fixture
def start_dev(tmp_path: Path) -> Iterator[StartDev]:
    """Starts ``parley dev`` on a terminal."""
    with ExitStack() as stack:

        def start(*arguments: str, **variables: str) -> DevServer:
            data = devmode.open_data(tmp_path / ".parley")
            environment = {**without_settings(), **variables}
            terminal = stack.enter_context(
                on_terminal(
                    "dev", "--port", "0", *arguments, folder=tmp_path, environment=environment
                )
            )
            return DevServer(terminal, data)

        yield start


def test_links_log_in_as_each_ready_user(start_dev: StartDev) -> None:
    dev = start_dev()
    dev.terminal.wait_for("Stop it with Ctrl")

    links = re.findall(
        rf"^  (\w+) +{re.escape(dev.url)}/#token=(\S+)$", dev.terminal.text, re.MULTILINE
    )

    users = {name: jwt.decode(token, dev.data.secret, ["HS256"])["sub"] for name, token in links}
    assert users == {"Alice": str(dev.data.users.alice), "Bob": str(dev.data.users.bob)}
    assert f"chat --as alice --to bob --url {dev.url}" in dev.terminal.text
    assert COLOUR.search(dev.terminal.raw)
    assert len(dev.terminal.text.splitlines()) < 20


async def test_a_line_for_each_event(start_dev: StartDev, devices: Devices) -> None:
    dev = start_dev()
    terminal, (alice_id, bob_id) = dev.terminal, (str(user) for user in dev.data.users.by_id())
    alice, bob = await devices.connect(dev, alice_id), await devices.connect(dev, bob_id)
    banner = len(terminal.text)

    chat = await alice.send(bob_id, f"{HUSH}\n\x1b[2J" + "x" * 100)
    await bob.mark_received(chat)
    await bob.call("send message", {"receiver": alice_id, "message": ""})
    await devices.make(dev).refused({"token": f"{dev.token(alice_id)}x"})
    await alice.disconnect()

    terminal.wait_for(rf"{TIME} \+ alice connected$")
    terminal.wait_for(rf"{TIME} \+ bob connected$")
    shown = rf"{HUSH} ␛\[2Jx+…"
    terminal.wait_for(rf"{TIME} → alice to bob: {shown}$")
    terminal.wait_for(rf"{TIME} ✓ bob received: {shown}$")
    terminal.wait_for(rf"{TIME} ! bob \('send message'\): bad_request, message must not be empty$")
    terminal.wait_for(rf"{TIME} ! somebody was refused: token_invalid, The token was refused: its")
    terminal.wait_for(
        rf"{TIME} - alice disconnected: (?:client namespace disconnect|transport close)$"
    )
    assert TOKEN_START not in terminal.text[banner:]
    assert max(map(len, terminal.text[banner:].splitlines())) < 120


async def test_somebody_without_a_name(start_dev: StartDev, devices: Devices) -> None:
    dev = start_dev()
    carol = await devices.connect(dev)

    dev.terminal.wait_for(rf"{TIME} \+ {carol.user[:8]} connected$")


@pytest.mark.parametrize("declined", [["--no-color"], []])
async def test_colours_can_be_declined(
    declined: list[str], start_dev: StartDev, devices: Devices
) -> None:
    variables = {} if declined else {"NO_COLOR": "1"}
    dev = start_dev(*declined, **variables)
    await devices.connect(dev, str(dev.data.users.alice))

    dev.terminal.wait_for(rf"{TIME} \+ alice connected$")
    assert "\x1b" not in dev.terminal.raw


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP], ids=["Ctrl+C", "closed window"])
def test_its_terminal_stops_it(number: signal.Signals, start_dev: StartDev) -> None:
    dev = start_dev()
    dev.terminal.wait_for("Stop it with Ctrl")

    dev.terminal.process.send_signal(number)

    assert dev.terminal.wait() == 0
    assert "Traceback" not in dev.terminal.text
