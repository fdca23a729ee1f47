"""The page of settings is written from the settings' own descriptions."""

from __future__ import annotations

import re

from docs import settings_page
from parley.settings_loading import settings_table


def test_the_page_is_in_step() -> None:
    written = settings_page.PAGE.read_text("utf-8")
    assert written == settings_page.page(), "`make format` writes it anew"


def test_every_setting_is_on_it_once() -> None:
    named = re.findall(r"^\| `([A-Z_]+)` \|", settings_page.page(), re.MULTILINE)
    assert sorted(named) == sorted(row.name for row in settings_table())
