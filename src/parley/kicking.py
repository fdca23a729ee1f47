"""``parley kick``: disconnects a user everywhere, and refuses the tokens that user has."""

from __future__ import annotations

import argparse
import asyncio
import math
import os
import sys
import time
from datetime import UTC, datetime
from typing import Final

from parley import logs
from parley.chat.ports import Revocation
from parley.model import UserId
from parley.settings import Settings
from parley.settings_loading import load_settings

_OK: Final = 0


def kick(arguments: argparse.Namespace) -> int:
    """Do what was typed, and say so; the exit status."""
    settings = load_settings(os.environ)
    logs.configure(settings.log_level, settings.log_format)
    from parley.backends import revoke  # noqa: PLC0415 - late: `parley --help` need not wait

    user = UserId(str(arguments.user))
    revocation = _lifted(user) if arguments.forget else _revoked(user, arguments.reason, settings)
    told = asyncio.run(revoke(settings, revocation))
    if arguments.forget:
        print(f"Earlier tokens of {user} are accepted again.")
    else:
        print(
            f"Kicked {user}. Tokens issued before {_shown(revocation.issued_before)} are refused "
            f"until {_shown(revocation.until)}."
        )
    if not told:
        print(
            "Redis does not answer: the nodes learn of it from the database, in a second or two.",
            file=sys.stderr,
        )
    return _OK


def _revoked(user: UserId, why: str, settings: Settings) -> Revocation:
    """Takes up to a second: most tokens tell only in which second they were issued.

    Those of this second have to be refused.  So nobody is disconnected before it is over, who
    would fetch one more of them.
    """
    before = math.ceil(time.time())
    time.sleep(max(0.0, before - time.time()))
    until = before + settings.jwt_revocation_lifetime
    return Revocation(user, before * 1000, round(until * 1000), why)


def _lifted(user: UserId) -> Revocation:
    return Revocation(user, issued_before=0, until=0, reason="")


def _shown(milliseconds: int) -> str:
    return f"{datetime.fromtimestamp(milliseconds / 1000, UTC):%Y-%m-%d %H:%M:%S} UTC"
