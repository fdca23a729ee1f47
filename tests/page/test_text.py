"""Message text is text: neither HTML nor the direction of writing does any harm."""

from __future__ import annotations

import pytest
from playwright.async_api import expect

from tests.e2e.server import ChatServer, new_user

from .browser import Browser, Window

pytestmark = pytest.mark.asyncio(loop_scope="module")

HTML = '<img src=x onerror="alert(1)"><script>alert(2)</script><b>hush</b> &amp; &lt;'


async def two_windows(server: ChatServer, browser: Browser, name: str) -> tuple[Window, Window]:
    """A window in which a chat with the other one's user has begun, and that other one."""
    users = new_user(), new_user()
    one, other = await browser.window(), await browser.window()
    await one.enter(server.url, server.token(users[0]))
    await other.enter(server.url, server.token(users[1]))
    await one.begin_chat(users[1], name)
    return one, other


async def test_html_is_shown_and_does_nothing(server: ChatServer, browser: Browser) -> None:
    one, other = await two_windows(server, browser, HTML[:60])
    await one.write(HTML)
    await expect(other.rows.first.locator(".line")).to_have_text(HTML)
    await other.open_row()
    for window in (one, other):
        await window.expect_texts(HTML)
        assert await window.page.locator("#messages :is(img, script, b)").count() == 0
    await expect(one.page.locator("#peer-name")).to_have_text(HTML[:60])


@pytest.mark.parametrize(
    ("text", "direction"),
    [
        ("hush שלום, Bob", "ltr"),
        ("שלום hush!", "rtl"),
        ("مرحبا hush (1)", "rtl"),
        ("\u202ehush", "ltr"),  # an override ends with the message
    ],
)
async def test_each_message_has_its_own_direction(
    server: ChatServer, browser: Browser, text: str, direction: str
) -> None:
    one, other = await two_windows(server, browser, "Bob")
    await one.write(text)
    await other.open_row()
    for window in (one, other):
        await window.expect_texts(text)
        shown = window.messages.locator(".text")
        assert await shown.evaluate("(p) => getComputedStyle(p).direction") == direction
        assert await shown.evaluate("(p) => getComputedStyle(p).unicodeBidi") == "isolate"
        meta = window.messages.locator(".meta")
        assert await meta.evaluate("(p) => getComputedStyle(p).direction") == "ltr"


@pytest.mark.parametrize(
    ("text", "large"),
    [
        ("👍", True),
        ("👩‍👩‍👧‍👦🏳️‍🌈🇯🇵", True),
        ("👍🏽 ❤️", True),
        ("hush 👍", False),
        ("1", False),
        ("#*", False),
    ],
)
async def test_emoji_stay_whole(
    server: ChatServer, browser: Browser, text: str, large: bool
) -> None:
    one, other = await two_windows(server, browser, "👩‍🚀 Bob")
    await one.write(text)
    await other.open_row()
    for window in (one, other):
        await window.expect_texts(text)
        assert await window.messages.evaluate_all("([li]) => li.matches('.emoji')") == large
    await expect(one.page.locator("#peer-avatar")).to_have_text("👩‍🚀")


async def test_lines_stay_lines(server: ChatServer, browser: Browser) -> None:
    one, other = await two_windows(server, browser, "Bob")
    box = one.page.get_by_role("textbox", name="Message")
    await box.press_sequentially("hush one")
    await box.press("Shift+Enter")
    await box.press_sequentially("two")
    await box.press("Enter")
    await other.open_row()
    text = other.messages.locator(".text")
    assert await text.evaluate("(p) => p.textContent") == "hush one\ntwo"
    await expect(text).to_have_css("white-space-collapse", "preserve")
    await expect(other.rows.first.locator(".line")).to_have_text("hush one two")
