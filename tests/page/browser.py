"""Debian's Chromium, driven as people use it: windows with the page, and what must hold in each."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from playwright.async_api import Browser as Chromium
from playwright.async_api import BrowserContext, Locator, Page, async_playwright, expect

from tests.e2e.server import PATIENCE

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_WATCH_POLICY = """
document.addEventListener("securitypolicyviolation", (event) =>
  console.error(`refused by the policy: ${event.violatedDirective} ${event.blockedURI}`));
"""
_NETWORK = ("WebSocket connection to", "net::ERR_")
"""How what Chromium says of a server that is away begins or what it holds; that is no fault."""

expect.set_options(timeout=3_000 * PATIENCE)


class Window:
    """One window of one user."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.faults: list[str] = []
        """What the page must never cause: exceptions, errors in the console, dialogs."""
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("dialog", lambda dialog: self.faults.append(f"a dialog: {dialog.message}"))
        page.on("console", lambda message: self._hear(message.type, message.text))

    async def enter(self, url: str, token: str, state: str = "Connected") -> None:
        """Come in by a link, and wait for a state of the connection."""
        await self.page.goto(f"{url}/#token={token}")
        await self.wait_for_state(state)

    async def wait_for_state(self, state: str) -> None:
        await expect(self.page.locator("#my-state")).to_have_text(state)

    async def begin_chat(self, peer: str, name: str = "") -> None:
        """Begin a new chat by the peer's id."""
        await self.page.get_by_role("button", name="New chat").click()
        dialog = self.page.get_by_role("dialog", name="New chat")
        await dialog.get_by_label("User id").fill(peer)
        await dialog.get_by_label("Name").fill(name)
        await dialog.get_by_role("button", name="Begin").click()
        await expect(dialog).to_be_hidden()

    async def open_row(self, index: int = 0) -> None:
        """Open a conversation of the list."""
        await self.rows.nth(index).click()

    async def write(self, *texts: str) -> None:
        """Write and send messages."""
        box = self.page.get_by_role("textbox", name="Message")
        for text in texts:
            await box.fill(text)
            await box.press("Enter")

    @property
    def rows(self) -> Locator:
        """The list of conversations."""
        return self.page.get_by_role("navigation", name="Conversations").get_by_role("button")

    @property
    def messages(self) -> Locator:
        """The messages of the open conversation."""
        return self.page.locator("#messages .message")

    async def expect_texts(self, *texts: str) -> None:
        """The open conversation has these messages, and in this order."""
        await expect(self.messages.locator(".text")).to_have_text(list(texts))

    async def expect_marks(self, *names: str) -> None:
        """My messages have come this far: ``Waiting to be sent``, ``Sent``, ``Received``."""
        marks = self.page.locator("#messages .mine .mark")
        await expect(marks).to_have_count(len(names))
        for index, name in enumerate(names):
            await expect(marks.nth(index)).to_have_accessible_name(name)

    async def expect_unread(self, count: int, index: int = 0) -> None:
        """A row of the list shows so many messages that were not yet read."""
        badge = self.rows.nth(index).locator(".count")
        if count:
            await expect(badge).to_have_text(str(count))
        else:
            await expect(badge).to_be_hidden()

    def _hear(self, kind: str, text: str) -> None:
        if kind == "error" and not any(words in text for words in _NETWORK):
            self.faults.append(text)


class Browser:
    """The windows of one test; each of a browser of its own, unless they share a context."""

    def __init__(self, chromium: Chromium) -> None:
        self._chromium = chromium
        self._windows: list[Window] = []

    async def window(self, context: BrowserContext | None = None, **options: Any) -> Window:
        """A window; one of somebody else's browser, unless it shares another one's context."""
        if context is None:
            context = await self._chromium.new_context(**options)
            await context.add_init_script(_WATCH_POLICY)
        window = Window(await context.new_page())
        self._windows.append(window)
        return window

    async def close(self) -> None:
        """Close them; fails if one of them caused what none must."""
        for context in self._chromium.contexts:
            await context.close()
        faults = [fault for window in self._windows for fault in window.faults]
        assert not faults, faults


@asynccontextmanager
async def open_chromium() -> AsyncIterator[Chromium]:
    """Start the system's Chromium; skips the test where there is none."""
    path = next(filter(None, map(shutil.which, _NAMES)), None)
    if path is None:
        pytest.skip("Chromium is not installed here")
    async with async_playwright() as playwright:
        chromium = await playwright.chromium.launch(executable_path=path)
        try:
            yield chromium
        finally:
            await chromium.close()


@asynccontextmanager
async def open_browser() -> AsyncIterator[Browser]:
    """A browser for one test alone, which looks for its windows' faults itself."""
    async with open_chromium() as chromium:
        yield Browser(chromium)
