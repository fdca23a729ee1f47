"""What the page knows of what has been said."""

from __future__ import annotations

import time
from pathlib import Path
from uuid import uuid4

import pytest
from playwright.async_api import expect

from parley.chat.ports import NewChat, Receipt
from parley.model import ChatId, UserId
from parley.store.sqlite import SqliteStore
from tests.e2e.server import ChatServer, new_user, running

from .browser import Browser

pytestmark = pytest.mark.asyncio(loop_scope="module")

_SHOWN_EARLY = """
async () => {
  const { Conversations } = await import("/conversations.js");
  const conversations = new Conversations("me");
  const chat = (id) => ({ id, sender: "bob", receiver: "me", message: id, createdAt: 1 });
  conversations.shown("1"); // says another window
  conversations.chat(chat("1"));
  conversations.chat(chat("2"));
  conversations.chat(chat("1"));
  return conversations.unread;
}
"""
_MANY_SENT = """
async () => {
  const { Conversations } = await import("/conversations.js");
  const conversations = new Conversations("me");
  for (let i = 0; i < 250; i++)
    conversations.chat({ id: `${i}`, sender: "me", receiver: "bob", message: "", createdAt: i });
  return conversations.undelivered().map(({ receiver, chatIds }) => [receiver, ...chatIds]);
}
"""
_ENDS_EARLY = """
async () => {
  const { History } = await import("/history.js");
  const said = Array.from({ length: 300 }, (_, i) => ({ id: `${i}`, createdAt: i }));
  let failing = false;
  const all = async ({ before, limit }) => {
    if (failing && before) throw new Error("the connection is lost");
    const end = before ? Number(before) : said.length;
    return { bob: said.slice(Math.max(0, end - limit), end) };
  };
  const taken = new Set();
  const history = new History({ all }, ({ id }) => taken.add(id));
  await history.refresh();
  for (let i = 300; i < 1500; i++) said.push({ id: `${i}`, createdAt: i });
  failing = true;
  await history.refresh().catch(() => {});
  const before = taken.size;
  failing = false;
  await history.refresh();
  return [before, taken.size];
}
"""


async def test_what_another_window_has_shown_is_never_unread(
    server: ChatServer, browser: Browser
) -> None:
    window = await browser.window()
    await window.page.goto(server.url)

    assert await window.page.evaluate(_SHOWN_EARLY) == 1


async def test_all_that_was_sent_is_asked_for(server: ChatServer, browser: Browser) -> None:
    window = await browser.window()
    await window.page.goto(server.url)

    questions = await window.page.evaluate(_MANY_SENT)

    assert [len(question) - 1 for question in questions] == [100, 100, 50]
    asked = [chat for receiver, *chats in questions for chat in chats if receiver == "bob"]
    assert sorted(map(int, asked)) == list(range(250))


async def test_a_refresh_that_ends_early_leaves_no_gap(
    server: ChatServer, browser: Browser
) -> None:
    window = await browser.window()
    await window.page.goto(server.url)

    assert await window.page.evaluate(_ENDS_EARLY) == [800, 1500]


async def test_all_is_found_though_the_clock_was_set_back(tmp_path: Path, browser: Browser) -> None:
    bob = UserId(new_user())
    server = ChatServer(tmp_path, {"PAGE": "true"})
    now = int(time.time() * 1000)
    times = [*range(now - 1_000, now), now - 60_000]  # the newest was sent a minute before them
    chats = [
        NewChat(ChatId(str(uuid4())), UserId(new_user()), bob, f"hush {at}", at) for at in times
    ]
    store = await SqliteStore.open(server.database)
    await store.commit(chats, [])
    await store.commit([], [Receipt(bob, chat.id) for chat in chats])
    await store.close()

    with running(server):
        window = await browser.window()
        await window.enter(server.url, server.token(bob))
        await expect(window.rows).to_have_count(500)
        await window.open_row(0)
        await window.page.get_by_role("button", name="Earlier messages").click()
        await expect(window.rows).to_have_count(len(chats))
