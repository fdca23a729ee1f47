"""The first minute with ``parley dev``: one click each, and two people talk."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.async_api import expect

from .browser import Browser, Window
from .dev import dev_server

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_two_clicks_and_two_people_talk(tmp_path: Path, browser: Browser) -> None:
    with dev_server(tmp_path) as port:
        hers = await browser.window()
        page = hers.page
        await page.goto(f"http://127.0.0.1:{port}/")
        await page.get_by_role("button", name="Alice").click()
        await hers.wait_for_state("Connected")

        async with page.context.expect_page() as opening:
            await page.get_by_role("link", name="open a window as Bob").click()
        his = Window(await opening.value)
        await his.wait_for_state("Connected")
        await expect(his.page.locator("#my-name")).to_have_text("Bob")
        await expect(page.locator("#my-name")).to_have_text("Alice")

        await his.page.get_by_role("button", name="Alice").click()
        await his.write("Hello Alice!")
        await hers.expect_unread(1)
        await page.get_by_role("button", name="Bob").click()
        await hers.expect_texts("Hello Alice!")
        await hers.write("Hello Bob!")
        await his.expect_texts("Hello Alice!", "Hello Bob!")

        for window, name in ((hers, "Alice"), (his, "Bob")):  # each is who it was, after a reload
            await window.page.reload()
            await window.wait_for_state("Connected")
            await expect(window.page.locator("#my-name")).to_have_text(name)
        assert his.faults == []
