"""The page of the examples, in a real browser."""

from __future__ import annotations

from playwright.async_api import Page, expect

from tests.e2e.server import HUSH
from tests.page.browser import open_browser

from .applications import Application


async def log_in(page: Page, application: Application, name: str) -> None:
    """Log in by the button of that name, and wait until Parley has let the user in."""
    await page.goto(application.url)
    await page.get_by_role("button", name=name).click()
    await expect(page.locator("#state")).to_have_text("connected")


async def write(page: Page, text: str) -> None:
    """Write to the other one."""
    box = page.get_by_role("textbox", name="Message")
    await box.fill(text)
    await box.press("Enter")


async def test_two_windows_talk(application: Application) -> None:
    async with open_browser() as browser:
        alice = (await browser.window()).page
        bob = (await browser.window()).page
        await log_in(alice, application, "Alice")
        await log_in(bob, application, "Bob")

        await write(alice, f"{HUSH} <b>1</b>")
        await expect(bob.locator("#messages li")).to_have_text([f"alice: {HUSH} <b>1</b>"])
        await alice.context.set_offline(True)
        await expect(alice.locator("#state")).not_to_have_text("connected")
        await write(alice, f"{HUSH} 2")
        await expect(alice.locator(".waiting")).to_have_count(1)
        await alice.context.set_offline(False)
        await expect(bob.locator("#messages li")).to_have_count(2)
        await expect(bob.locator("#messages li").last).to_have_text(f"alice: {HUSH} 2")
        await expect(alice.locator(".waiting")).to_have_count(0)

        await alice.get_by_role("button", name="Log out").click()
        await expect(alice.get_by_role("button", name="Alice")).to_be_visible()
