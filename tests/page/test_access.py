"""Everybody can use the page: by keyboard, by ear, in the dark, and on a phone."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import expect

from tests.e2e.server import ChatServer, new_user

from .browser import Browser, Window

pytestmark = pytest.mark.asyncio(loop_scope="module")

_FAULTS = """
() => {
  const faults = [];
  const visible = (element) => element.checkVisibility({ visibilityProperty: true });
  const all = (selector) => [...document.querySelectorAll(selector)].filter(visible);
  const ids = [...document.querySelectorAll("[id]")].map(({ id }) => id);
  const twice = ids.filter((id, i) => ids.indexOf(id) !== i);
  if (twice.length) faults.push(`ids that are there twice: ${twice}`);
  for (const name of ["aria-labelledby", "aria-describedby"])
    for (const element of document.querySelectorAll(`[${name}]`))
      if (!document.getElementById(element.getAttribute(name)))
        faults.push(`${name} leads nowhere: ${element.outerHTML}`);
  if (!document.documentElement.lang) faults.push("the language isn't told");
  for (const selector of ["h1", "main"])
    if (all(selector).length > 1) faults.push(`more than one ${selector}`);
  const levels = all("h1, h2, h3").map(({ tagName }) => Number(tagName[1]));
  levels.forEach((level, i) => {
    if (level > (levels[i - 1] ?? 0) + 1) faults.push(`a heading is missing before h${level}`);
  });
  for (const image of all("img")) if (!image.hasAttribute("alt")) faults.push("no alt");
  for (const element of all("[tabindex]"))
    if (element.tabIndex > 0) faults.push(`an order of its own: ${element.outerHTML}`);
  for (const element of all("button, a, input, textarea"))
    if (element.getBoundingClientRect().height < 24 && !element.closest("p"))
      faults.push(`too small to be touched: ${element.outerHTML}`);
  return faults;
}
"""
_NAMED = {
    "button",
    "link",
    "textbox",
    "dialog",
    "navigation",
    "img",
    "image",
    "log",
    "complementary",
}

_CONTRAST = """
(pairs) => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const style = getComputedStyle(document.documentElement);
  const luminance = (name) => {
    canvas.fillStyle = style.getPropertyValue(name);
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].map((byte) =>
      byte <= 10 ? byte / 255 / 12.92 : ((byte / 255 + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  return pairs.map(([ink, paper]) => {
    const [dark, light] = [luminance(ink), luminance(paper)].sort((a, b) => a - b);
    return (light + 0.05) / (dark + 0.05);
  });
}
"""
PAIRS = [
    (ink, paper)
    for ink in ("--ink", "--muted")
    for paper in ("--canvas", "--surface", "--raised", "--hover", "--chosen")
] + [
    ("--accent", "--surface"),
    ("--accent-ink", "--accent"),
    ("--bad", "--surface"),
    ("--bad", "--canvas"),
    ("--warn-ink", "--warn"),
    ("--mine-muted", "--mine-from"),
    ("--mine-ink", "--mine-from"),
    ("--mine-ink", "--mine-to"),
    ("--mine-ink", "--mine-waiting"),
    ("--mine-muted", "--mine-waiting"),
]


async def expect_no_fault(window: Window) -> None:
    """What people who can't see, or can't aim well, rest on."""
    assert await window.page.evaluate(_FAULTS) == []
    session = await window.page.context.new_cdp_session(window.page)
    tree = await session.send("Accessibility.getFullAXTree")
    nameless = [
        node["role"]["value"]
        for node in tree["nodes"]
        if not node["ignored"]
        and node["role"]["value"] in _NAMED
        and not node.get("name", {}).get("value")
    ]
    assert nameless == []


async def test_everything_has_a_name(server: ChatServer, browser: Browser) -> None:
    alice, bob = new_user(), new_user()
    window = await browser.window()
    await window.page.goto(server.url)
    await expect(window.page.get_by_role("button", name="Connect")).to_be_visible()
    await expect_no_fault(window)

    await window.enter(server.url, server.token(alice))
    await expect_no_fault(window)
    await window.page.get_by_role("button", name="New chat").click()
    await expect_no_fault(window)
    await window.page.keyboard.press("Escape")
    await window.begin_chat(bob)
    await window.write("hush")
    await window.expect_marks("Sent")
    await expect_no_fault(window)


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_every_colour_can_be_read(server: ChatServer, browser: Browser, scheme: str) -> None:
    window = await browser.window(color_scheme=scheme)
    await window.page.goto(server.url)

    ratios = await window.page.evaluate(_CONTRAST, PAIRS)

    # WCAG 2.2, 1.4.3
    assert [pair for pair, ratio in zip(PAIRS, ratios, strict=True) if ratio < 4.5] == []


async def test_the_keyboard_is_enough(server: ChatServer, browser: Browser) -> None:
    alice, bob, carol = new_user(), new_user(), new_user()
    window = await browser.window()
    press, type_ = window.page.keyboard.press, window.page.keyboard.insert_text
    focused = window.page.locator(":focus")
    await window.page.goto(server.url)
    await expect(window.page.get_by_role("button", name="Connect")).to_be_visible()

    await press("Tab")
    await type_(server.token(alice))
    await press("Tab")
    await press("Enter")
    await window.wait_for_state("Connected")
    for peer, name in ((bob, "Bob"), (carol, "Carol")):
        await window.page.locator("#new-chat-button").focus()
        await press("Enter")
        await expect(focused).to_have_attribute("id", "peer")
        await type_("nobody")
        await press("Enter")
        await expect(window.page.get_by_role("alert")).to_have_text("A user’s id is a UUID.")
        await press("ControlOrMeta+a")
        await type_(peer)
        await press("Tab")
        await type_(name)
        await press("Enter")
        await expect(focused).to_have_accessible_name("Message")
        await type_(f"hush, {name}")
        await press("Enter")
        await window.expect_texts(f"hush, {name}")
        await window.expect_marks("Sent")

    await press("Escape")  # to the list: Carol is the latest
    await expect(focused).to_have_attribute("aria-current", "true")
    await expect(focused).to_have_accessible_name(re.compile("Carol"))
    await press("ArrowDown")
    await expect(focused).to_have_accessible_name(re.compile("Bob"))
    await press("ArrowDown")  # there is nobody below
    await expect(focused).to_have_accessible_name(re.compile("Bob"))
    await press("Enter")
    await window.expect_texts("hush, Bob")
    await press("Escape")
    await press("Home")
    await expect(focused).to_have_accessible_name(re.compile("Carol"))
    await press("Tab")
    await expect(focused).not_to_have_class(re.compile("row"))  # the list is one stop


async def test_a_message_is_read_out(server: ChatServer, browser: Browser) -> None:
    alice, bob = new_user(), new_user()
    hers, his = await browser.window(), await browser.window()
    await hers.enter(server.url, server.token(alice))
    await his.enter(server.url, server.token(bob))
    await hers.begin_chat(bob)
    await his.page.get_by_role("button", name="New chat").click()
    await his.page.keyboard.press("Escape")
    await hers.write("hush")

    announcer = his.page.locator("#announcer")
    await expect(announcer).to_have_text(f"New message from {alice[:8]}…")
    await expect(announcer).to_have_attribute("aria-live", "polite")
    said = await announcer.text_content()
    await hers.write("hush again")
    await his.expect_unread(2)
    await expect(announcer).to_have_text(f"New message from {alice[:8]}…")
    assert await announcer.text_content() != said  # or nobody would hear it again


async def test_a_loss_is_read_out_wherever_one_is(server: ChatServer, browser: Browser) -> None:
    window = await browser.window(viewport={"width": 360, "height": 640}, has_touch=True)
    await window.enter(server.url, server.token(new_user()))
    await window.begin_chat(new_user())
    announcer = window.page.locator("#announcer")
    await window.page.context.set_offline(True)
    await expect(announcer).to_have_text("Offline")
    await window.write("hush")
    await window.expect_marks("Waiting to be sent")
    await expect(window.messages.locator(".bubble")).to_have_css("opacity", "1")  # can be read
    await window.page.context.set_offline(False)
    await expect(announcer).to_have_text("Connected")


async def test_a_phone_shows_one_pane(server: ChatServer, browser: Browser) -> None:
    alice, bob = new_user(), new_user()
    hers = await browser.window()
    his = await browser.window(viewport={"width": 360, "height": 640}, has_touch=True)
    await hers.enter(server.url, server.token(alice))
    await his.enter(server.url, server.token(bob))
    await hers.begin_chat(bob)
    await hers.write("hush " + "x" * 300)
    thread = his.page.locator("#thread")
    await expect(thread).to_be_hidden()

    await his.open_row()
    await expect(thread).to_be_visible()
    await expect(his.rows.first).to_be_hidden()
    await expect(his.page.locator("#log")).to_be_focused()  # it would be nowhere
    await hers.expect_marks("Received")
    wide = await his.page.evaluate("document.documentElement.scrollWidth")
    assert wide == 360

    await his.page.get_by_role("button", name="Back to the list").click()
    await expect(his.rows.first).to_be_visible()
    await hers.write("hush")  # it isn't in sight
    await his.expect_unread(1)
    await hers.expect_marks("Received", "Sent")


async def test_what_is_out_of_sight_is_not_received(server: ChatServer, browser: Browser) -> None:
    alice, bob = new_user(), new_user()
    hers, his = await browser.window(), await browser.window(viewport={"width": 900, "height": 400})
    await hers.enter(server.url, server.token(alice))
    await his.enter(server.url, server.token(bob))
    await hers.begin_chat(bob)
    await hers.write(*(f"hush {n}" for n in range(12)))
    await his.open_row()
    await hers.expect_marks(*["Received"] * 12)

    await his.page.locator("#log").evaluate("(log) => { log.scrollTop = 0; }")
    await expect(his.page.locator("#newer")).to_be_visible()
    await hers.write("hush, below")
    await expect(his.page.locator("#newer")).to_have_text("1 new message")
    await hers.expect_marks(*["Received"] * 12, "Sent")
    await his.page.locator("#newer").click()
    await hers.expect_marks(*["Received"] * 13)
    await expect(his.page.locator("#newer")).to_be_hidden()
    await expect(his.page.locator("#log")).to_be_focused()
