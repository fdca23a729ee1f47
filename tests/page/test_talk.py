"""Two windows talk, whatever happens between them: nothing is lost, and nothing doubled."""

from __future__ import annotations

import asyncio

import pytest
from playwright.async_api import expect

from tests.e2e.server import ChatServer, new_user
from tests.services.proxy import Proxy

from .browser import Browser

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_two_windows_talk(server: ChatServer, browser: Browser) -> None:
    alice, bob = new_user(), new_user()
    hers, his = await browser.window(), await browser.window()
    await hers.enter(server.url, server.token(alice))
    await his.enter(server.url, server.token(bob))

    await hers.begin_chat(bob, "Bob")
    await hers.write("hush one", "hush two")
    await his.expect_unread(2)
    await hers.expect_marks("Sent", "Sent")
    assert await his.page.title() == "(2) Parley"

    await his.open_row()
    await his.expect_texts("hush one", "hush two")
    await his.expect_unread(0)
    await hers.expect_marks("Received", "Received")
    await his.write("hush three")
    await hers.expect_texts("hush one", "hush two", "hush three")
    await expect(hers.page.locator("#announcer")).to_have_text("Bob: hush three")
    await his.expect_marks("Received")

    for window in (hers, his):  # all of it is there after a reload
        await window.page.reload()
        await window.wait_for_state("Connected")
        await window.open_row()
        await window.expect_texts("hush one", "hush two", "hush three")
        await expect(window.page.locator("#earlier")).to_be_hidden()  # there is nothing earlier


async def test_one_goes_offline_and_the_server_restarts(
    own_server: ChatServer, browser: Browser
) -> None:
    alice, bob = new_user(), new_user()
    hers, his = await browser.window(), await browser.window()
    with Proxy(own_server.port) as line:
        await hers.enter(own_server.url, own_server.token(alice))
        await his.enter(f"http://127.0.0.1:{line.port}", own_server.token(bob))
        await hers.begin_chat(bob)
        await his.begin_chat(alice)
        await hers.write("hush 1")
        await his.expect_texts("hush 1")
        await hers.expect_marks("Received")  # before the line is cut

        line.pause()
        line.cut()
        await his.wait_for_state("Offline")
        await expect(his.page.locator("#banner")).to_contain_text("You’re offline")
        await hers.write("hush 2", "hush 3")
        await his.write("hush from offline 1", "hush from offline 2")
        await his.expect_marks("Waiting to be sent", "Waiting to be sent")
        await hers.expect_marks("Received", "Sent", "Sent")

        await asyncio.to_thread(own_server.stop)
        await hers.wait_for_state("Offline")
        await hers.write("hush 4", "hush 5")
        await hers.expect_marks("Received", "Sent", "Sent", *["Waiting to be sent"] * 2)
        await asyncio.to_thread(own_server.start)
        await hers.wait_for_state("Connected")
        await hers.expect_marks("Received", *["Sent"] * 4)

        line.resume()
        await his.wait_for_state("Connected")
        await expect(his.page.locator("#banner")).to_be_hidden()
        await hers.expect_marks(*["Received"] * 5)
        await his.expect_marks("Received", "Received")
        said = [*(f"hush {n}" for n in range(1, 6)), "hush from offline 1", "hush from offline 2"]
        await hers.expect_texts(*said)
        await his.expect_texts(*said)


async def test_the_network_is_listened_to(server: ChatServer, browser: Browser) -> None:
    window = await browser.window()
    await window.enter(server.url, server.token(new_user()))
    await window.page.context.set_offline(True)
    await window.wait_for_state("Offline")
    await window.page.context.set_offline(False)
    await window.wait_for_state("Connected")


async def test_what_waits_outlives_the_window(own_server: ChatServer, browser: Browser) -> None:
    alice, bob = new_user(), new_user()
    window = await browser.window()
    await window.enter(own_server.url, own_server.token(alice))
    await window.begin_chat(bob)
    own_server.stop()
    await window.wait_for_state("Offline")
    await window.write("hush 1", "hush 2")
    context = window.page.context
    await window.page.close()
    await asyncio.to_thread(own_server.start)

    anew = await browser.window(context)
    await anew.enter(own_server.url, own_server.token(alice))
    await anew.open_row()
    await anew.expect_texts("hush 1", "hush 2")
    await anew.expect_marks("Sent", "Sent")
    his = await browser.window()
    await his.enter(own_server.url, own_server.token(bob))
    await his.open_row()
    await his.expect_texts("hush 1", "hush 2")


async def test_two_windows_of_one_user_double_nothing(
    own_server: ChatServer, browser: Browser
) -> None:
    alice, bob = new_user(), new_user()
    one = await browser.window()
    two = await browser.window(one.page.context)
    his = await browser.window()
    for window in (one, two):
        await window.enter(own_server.url, own_server.token(alice))
        await window.begin_chat(bob)
    await his.enter(own_server.url, own_server.token(bob))
    await his.begin_chat(alice)

    await one.write("hush 1")
    await two.expect_texts("hush 1")
    await asyncio.to_thread(own_server.stop)
    await one.wait_for_state("Offline")
    await two.wait_for_state("Offline")
    await one.write("hush 2")
    await two.write("hush 3")
    await asyncio.to_thread(own_server.start)
    await his.wait_for_state("Connected")
    for window in (one, two, his):
        await expect(window.messages).to_have_count(3)
    await his.write("hush, the end")
    for window in (one, two, his):
        await expect(window.messages).to_have_count(4)
        await expect(window.messages.locator(".text").last).to_have_text("hush, the end")

    assert sorted(await his.messages.locator(".text").all_inner_texts()) == [
        "hush 1",
        "hush 2",
        "hush 3",
        "hush, the end",
    ]


async def test_a_message_that_fails_says_why_and_may_be_sent_again(
    server: ChatServer, browser: Browser
) -> None:
    window = await browser.window()
    await window.enter(server.url, server.token(new_user()))
    await window.begin_chat(new_user())

    await window.write("hush" * 3_000)
    await expect(window.page.locator(".failure .reason")).to_contain_text(
        "at most 10000 characters"
    )
    await window.expect_marks("Not sent")
    await window.page.get_by_role("button", name="Try again").click()
    await window.expect_marks("Not sent")
    await window.write("hush")
    await window.expect_marks("Not sent", "Sent")
    await expect(window.rows.first.locator(".line")).to_have_text("hush")


async def test_a_message_that_fails_stays_until_it_is_deleted(
    server: ChatServer, browser: Browser
) -> None:
    window = await browser.window()
    await window.enter(server.url, server.token(new_user()))
    await window.begin_chat(new_user())
    await window.write("hush")
    await window.expect_marks("Sent")
    await window.write("hush" * 3_000)
    await window.expect_marks("Sent", "Not sent")

    other = await browser.window(window.page.context)
    await other.enter(server.url, await window.page.evaluate("sessionStorage['parley:token']"))
    await other.open_row()
    for each in (window, other):
        await each.page.reload()
        await each.wait_for_state("Connected")
        await each.open_row()
        await each.expect_marks("Sent", "Not sent")
        await expect(each.page.locator(".failure .reason").last).to_contain_text("at most 10000")
    await window.page.get_by_role("button", name="Delete").click()
    await expect(window.page.locator("#log")).to_be_focused()
    for each in (window, other):
        await each.expect_texts("hush")
    await window.page.reload()
    await window.wait_for_state("Connected")
    await window.open_row()
    await window.expect_texts("hush")


async def test_a_token_that_expires_is_asked_for_again(
    server: ChatServer, browser: Browser
) -> None:
    user = new_user()
    window = await browser.window()
    await window.page.goto(f"{server.url}/#token={server.token(user, exp=1)}")
    problem = window.page.get_by_role("alert").first
    await expect(problem).to_have_text("That token has expired. Please give another.")

    await window.page.get_by_label("A token of your application").fill(server.token(user))
    await window.page.get_by_role("button", name="Connect").click()
    await window.wait_for_state("Connected")
    assert window.page.url == f"{server.url}/"  # it has never been in the address bar

    await window.page.get_by_role("button", name="Sign out").click()
    await expect(window.page.get_by_role("button", name="Connect")).to_be_visible()


async def test_a_long_history_is_shown_piece_by_piece(server: ChatServer, browser: Browser) -> None:
    alice, bob = new_user(), new_user()
    his = await browser.window()
    await his.page.goto(server.url)
    await his.page.evaluate(_SEND_MANY, [server.token(alice), bob, 700])
    await his.enter(server.url, server.token(bob))
    await expect(his.rows.first.locator(".count")).to_have_text("99+")
    await his.open_row()
    await expect(his.messages.last.locator(".text")).to_have_text("hush 699")
    await his.expect_unread(0)

    await his.page.reload()
    await his.wait_for_state("Connected")
    await his.open_row()
    for first in (550, 400, 250, 100):
        await expect(his.messages.first.locator(".text")).to_have_text(f"hush {first}")
        await his.page.get_by_role("button", name="Earlier messages").click()
    await expect(his.messages).to_have_count(700)
    await expect(his.messages.first.locator(".text")).to_have_text("hush 0")


_SEND_MANY = """
async ([token, receiver, count]) => {
  const { Parley } = await import("/parley.js");
  const parley = new Parley({ token: () => token });
  parley.connect();
  for (let i = 0; i < count; i++) await parley.send(receiver, `hush ${i}`);
  parley.close();
}
"""
