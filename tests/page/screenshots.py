"""Makes the pictures of the page anew: ``python -m tests.page.screenshots [FOLDER]``.

The two of the README go to docs/images; with a folder, all of them go there, to be looked at.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
import tempfile
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

from parley.chat.ports import NewChat, Receipt
from parley.model import ChatId, UserId
from parley.store.sqlite import SqliteStore
from tests.e2e.server import ChatServer, running

from .browser import Browser, Window, open_chromium

IMAGES = Path(__file__).parents[2] / "docs" / "images"
DESKTOP: dict[str, Any] = {
    "locale": "en-GB",
    "viewport": {"width": 1100, "height": 770},
    "device_scale_factor": 2,
}
PHONE: dict[str, Any] = {
    "locale": "en-GB",
    "viewport": {"width": 390, "height": 760},
    "device_scale_factor": 2,
    "has_touch": True,
}
ME = UserId("5b0e8a52-3c1f-4c55-9d0e-8f6a2b1c7d90")
PEOPLE = {
    "Alice": ME,
    "Bob Okafor": UserId("0d4f6a2e-91b3-4e0a-8a7c-1f2e3d4c5b62"),
    "Carmen Ruiz": UserId("7e5d4c3b-2a19-4f8e-b7d6-c5b4a3920187"),
    "Dáithí": UserId("a1b2c3d4-e5f6-4a7b-8c9d-0e1f2a3b4c54"),
    "نور": UserId("c0ffee00-1234-4abc-9def-56789abcdef3"),
    "Hana 📚": UserId("91f0e2d3-c4b5-4a69-8778-695a4b3c2d15"),
}


class Line(NamedTuple):
    """One message of the story."""

    days_ago: int
    time: str
    peer: str
    text: str
    mine: bool = False
    received: bool = True


BOB = "Bob Okafor"
STORY = (
    Line(3, "18:20", "Dáithí", "Safe home! 🚲"),
    Line(2, "09:05", "Hana 📚", "Chapter 7 for Thursday then. Bring biscuits."),
    Line(1, "20:11", "نور", "شكرا جزيلا، نلتقي غدا"),
    Line(1, "21:40", BOB, "Are we still on for the lighthouse this weekend?"),
    Line(1, "21:42", BOB, "Of course. I’ve found a ferry at nine, back at six.", mine=True),
    Line(1, "21:47", BOB, "Nine is fine. I’ll bring coffee, you bring the map."),
    Line(0, "08:02", BOB, "Forecast says sun until four, then rain."),
    Line(0, "08:02", BOB, "So: walk first, museum after?"),
    Line(0, "08:15", BOB, "Perfect plan.", mine=True),
    Line(0, "08:15", BOB, "☀️🥾🗺️", mine=True),
    Line(0, "08:16", BOB, "Tickets are booked, two seats by the window.", mine=True),
    Line(0, "08:21", BOB, "You’re the best. My brother may join us, he asks whether the path is "
         "all right with a pushchair. I told him you know every stone of it."),
    Line(0, "08:24", BOB, "The lower one is. See you at the pier at ten to nine!", mine=True,
         received=False),
    Line(0, "08:31", "Carmen Ruiz", "Did you see the new build?", received=False),
    Line(0, "08:32", "Carmen Ruiz", "It’s twice as fast now!", received=False),
)  # fmt: skip


async def tell(store: SqliteStore) -> list[dict[str, Any]]:
    """Store the story; what I sent of it, as the browser keeps that."""
    sent = []
    for line in STORY:
        hour, minute = map(int, line.time.split(":"))
        day = datetime.now().astimezone() - timedelta(days=line.days_ago)
        at = int(day.replace(hour=hour, minute=minute, second=0).timestamp() * 1000)
        sender, receiver = (ME, PEOPLE[line.peer]) if line.mine else (PEOPLE[line.peer], ME)
        chat = NewChat(ChatId(str(uuid4())), sender, receiver, line.text, at)
        await store.commit([chat], [])
        if line.received:
            await store.commit([], [Receipt(receiver, chat.id)])
        if line.mine:
            sent.append(
                {
                    "id": chat.id,
                    "sender": sender,
                    "receiver": receiver,
                    "message": line.text,
                    "createdAt": at,
                    "received": line.received,
                }
            )
    return sent


async def enter(
    browser: Browser, server: ChatServer, sent: list[dict[str, Any]], **options: Any
) -> Window:
    """My window, in a browser that remembers what I sent and how people are called."""
    window = await browser.window(**options)
    memory = {f"parley:name:{user}": name for name, user in PEOPLE.items()}
    memory |= {f"parley:sent:{ME}:{chat['id']}": json.dumps(chat) for chat in sent}
    await window.page.add_init_script(f"Object.assign(localStorage, {json.dumps(memory)})")
    await window.enter(server.url, server.token(ME))
    await window.rows.nth(4).wait_for()
    return window


async def open_bob(window: Window) -> None:
    await window.page.get_by_role("button", name=BOB).click()
    await window.page.mouse.move(0, 0)
    await window.page.evaluate("document.fonts.ready")


async def take(folder: Path, everything: bool) -> None:
    """Take the pictures, with a server and a browser of their own."""
    with tempfile.TemporaryDirectory() as name:
        server = ChatServer(Path(name), {"PAGE": "true"})
        store = await SqliteStore.open(server.database)
        sent = await tell(store)
        await store.close()
        with running(server):
            async with open_chromium() as chromium:
                browser = Browser(chromium)
                for scheme in ("light", "dark"):
                    window = await enter(browser, server, sent, color_scheme=scheme, **DESKTOP)
                    await open_bob(window)
                    await window.page.screenshot(path=folder / f"page-{scheme}.png")
                    if everything:
                        await take_phone(browser, server, sent, folder, scheme)
                if everything:
                    await take_offline(browser, server, sent, folder)
                await browser.close()


async def take_offline(
    browser: Browser, server: ChatServer, sent: list[dict[str, Any]], folder: Path
) -> None:
    """Take the one without a server."""
    window = await enter(browser, server, sent, **DESKTOP)
    await open_bob(window)
    await asyncio.to_thread(server.stop)
    await window.wait_for_state("Offline")
    await window.write("I’m on the train, this goes out later.")
    await window.page.locator("#banner").evaluate(
        "(banner) => Promise.all(banner.getAnimations().map(({ finished }) => finished))"
    )
    await window.page.screenshot(path=folder / "offline.png")


async def take_phone(
    browser: Browser,
    server: ChatServer,
    sent: list[dict[str, Any]],
    folder: Path,
    scheme: str,
) -> None:
    window = await enter(browser, server, sent, color_scheme=scheme, **PHONE)
    await window.page.screenshot(path=folder / f"phone-list-{scheme}.png")
    await open_bob(window)
    await window.page.screenshot(path=folder / f"phone-thread-{scheme}.png")
    await window.page.get_by_role("button", name="Back to the list").click()
    await window.page.get_by_role("button", name="New chat").click()
    await window.page.screenshot(path=folder / f"phone-new-{scheme}.png")
    login = await browser.window(color_scheme=scheme, **PHONE)
    await login.page.goto(server.url)
    await login.page.get_by_role("button", name="Connect").wait_for()
    await login.page.screenshot(path=folder / f"login-{scheme}.png")


def shrink(picture: Path) -> None:
    """Make a picture small, with pngquant if it is there."""
    pngquant = shutil.which("pngquant")
    if pngquant is None:
        print(f"{picture} stays large: pngquant is not installed here", file=sys.stderr)
        return
    options = ["--quality=70-95", "--speed=1", "--strip", "--force"]
    subprocess.run([pngquant, *options, f"--output={picture}", str(picture)], check=True)


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else IMAGES
    folder.mkdir(parents=True, exist_ok=True)
    asyncio.run(take(folder, everything=folder != IMAGES))
    for picture in folder.glob("page-*.png"):
        shrink(picture)


if __name__ == "__main__":
    main()
