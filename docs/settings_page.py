"""Writes settings.md from the settings' own descriptions; ``make format`` does it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from parley.settings_loading import SettingRow, settings_table

PAGE: Final = Path(__file__).with_name("settings.md")

_HEAD: Final = """\
<!-- Written by `make format`; change src/parley/settings.py instead. -->

# Settings

Settings are environment variables. A file `.env` in the working directory is read too; where both
have a variable, the environment's counts. A blank value is the same as none.

`parley start` checks all of them at once. When some are missing or wrong, one message says what to
do about each, and it ends with status 2. `parley start --help` prints this list.

`--host`, `--port` and `--workers` stand for the variables of the same name, and win over them.
"""

SECTIONS: Final[Mapping[str, tuple[str, ...]]] = {
    "Needed always": ("JWT_SECRET_KEY", "DATABASE_TYPE", "DATABASE_DB"),
    "PostgreSQL": ("DATABASE_",),
    "Redis": ("REDIS_",),
    "Where it listens": ("HOST", "PORT", "WORKERS", "NODE_", "TLS_", "PAGE"),
    "Who may connect": ("ALLOWED_ORIGINS", "JWT_"),
    "Limits": ("MESSAGE_", "LIST_", "MAX_", "OUTBOX_", "COMMIT_", "RATE_", "USER_", "TRUSTED_"),
    "Times": ("PING_", "CONNECT_", "INBOX_", "STARTUP_", "SHUTDOWN_"),
    "Logs": ("LOG_",),
}
"""Headings, and how the names of what is below them begin; the first that fits."""


def page() -> str:
    """The whole page, in Markdown.  Raises ValueError for a setting that fits no section."""
    sections: dict[str, list[SettingRow]] = {title: [] for title in SECTIONS}
    for row in settings_table():
        sections[_section(row.name)].append(row)
    return "\n".join([_HEAD, *(_table(title, rows) for title, rows in sections.items())])


def _section(name: str) -> str:
    for title, beginnings in SECTIONS.items():
        if name.startswith(beginnings):
            return title
    raise ValueError(f"{name} fits no section of {__name__}.SECTIONS")


def _table(title: str, rows: list[SettingRow]) -> str:
    lines = [f"## {title}\n", "| variable | default | what it is |", "|---|---|---|"]
    lines += [f"| `{row.name}` | {_default(row)} | {_description(row)} |" for row in rows]
    return "\n".join(lines) + "\n"


def _default(row: SettingRow) -> str:
    if row.needed != "never":
        return f"needed {row.needed}"
    return f"`{row.default}`" if row.default else ""


def _description(row: SettingRow) -> str:
    value = "" if row.expected == "text" else f" ({row.expected})"
    return f"{row.description}{value}".replace("|", "\\|").replace("*", "\\*")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
