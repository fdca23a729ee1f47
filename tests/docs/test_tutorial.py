"""The tutorial's end: two people talk, each in a browser."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from playwright.async_api import expect

from tests.page.browser import Browser, Window, open_browser

from .pages import blocks
from .session import Session

PAGE = "tutorial.md"


@pytest.fixture(params=["FastAPI", pytest.param("Express", marks=pytest.mark.node)])
def application(
    request: pytest.FixtureRequest, tmp_path: Path, environment: dict[str, str]
) -> Iterator[Session]:
    """Everything that the tutorial starts."""
    if shutil.which("curl") is None:
        pytest.skip("curl: not installed here")
    session = Session(tmp_path, environment)
    if request.param == "Express":
        packages: Path = request.getfixturevalue("node_packages")
        (session.work / "node_modules").symlink_to(packages)
    try:
        for block in blocks(PAGE):
            if block.tab in ("", request.param):
                session.carry_out(block)
        yield session
    finally:
        session.close()


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with open_browser() as browser:
        yield browser


async def open_as(browser: Browser, application: Session, name: str) -> Window:
    window = await browser.window()
    await window.page.goto(f"{application.url('8000')}/?name={name}")
    await expect(window.page.locator("#state")).to_have_text("connected")
    return window


async def expect_lines(window: Window, *lines: str) -> None:
    await expect(window.page.locator("#messages li")).to_have_text(list(lines))


async def write(window: Window, text: str) -> None:
    box = window.page.get_by_role("textbox", name="Message")
    await box.fill(text)
    await box.press("Enter")


async def test_two_browsers_talk(application: Session, browser: Browser) -> None:
    alice = await open_as(browser, application, "alice")
    bob = await open_as(browser, application, "bob")
    await write(alice, "Hello <b>Bob</b>")
    await expect_lines(bob, "alice: Hello <b>Bob</b>")
    await write(bob, "Hello Alice")
    await expect_lines(alice, "alice: Hello <b>Bob</b>", "bob: Hello Alice")

    # "Close Bob's window and write to him. Open it again: the messages are there."
    await bob.page.close()
    await write(alice, "Are you there?")
    bob = await open_as(browser, application, "bob")
    await expect_lines(bob, "alice: Are you there?")

    # "Stop Parley with Ctrl+C and write. Start it again: what you wrote goes out, once."
    (start,) = (block for block in blocks(PAGE) if "$ parley start" in block.text)
    application.interrupt(start)
    await expect(alice.page.locator("#state")).to_have_text("offline")
    await write(alice, "First")
    await write(alice, "Second")
    application.carry_out(start)
    await expect_lines(bob, "alice: Are you there?", "alice: First", "alice: Second")
    # The page has no icon, and nothing else is missing.
    assert not [fault for fault in (*alice.faults, *bob.faults) if "404" not in fault]
