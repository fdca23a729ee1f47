"""Fills a database of Parley's as months of use would."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from bench.load.users import make_users

SEED: Final = "growth"
"""Of the users that are to be measured: they have chats too."""
_USERS: Final = 100
"""So many does the load generator need for the pairs that it makes by default."""
_UNUSED: Final = "a secret of tokens that nobody uses"
_OWNERS: Final = 1000
"""The users among whom the chats are shared out evenly."""

# One statement, and rows in the order in which they would have come: everybody gets the first
# chat, then everybody the second. All have been received, as most have after months.
_FILL: Final = """
WITH owners AS (
  SELECT uuid AS owner FROM unnest('{{{named}}}'::uuid[]) AS uuid
  UNION ALL
  SELECT md5('owner ' || n)::uuid FROM generate_series(1, {unnamed}) AS n
), moved AS (
  INSERT INTO heads (owner, seq) SELECT owner, {each} FROM owners
), stored AS (
  INSERT INTO chats (receiver, id, sender, seq, created_at, received, message)
  SELECT owner, gen_random_uuid(), md5('sender ' || owner)::uuid, seq,
         1700000000000 + seq, true, repeat('x', 100)
  FROM generate_series(1, {each}) AS seq CROSS JOIN owners
  RETURNING receiver, seq, id
)
INSERT INTO inbox (owner, seq, kind, chat_id) SELECT receiver, seq, 1, id FROM stored"""


def fill(execute: Callable[[str], object], chats: int) -> None:
    """Store ``chats`` valid chats, in thousands, in the empty tables of a Parley that has started.

    Each of the users of SEED, and of others, has as many of them.
    """
    named = [user.id for user in make_users(_UNUSED, SEED, _USERS)]
    unnamed = _OWNERS - len(named)
    execute(_FILL.format(named=",".join(named), unnamed=unnamed, each=chats // _OWNERS))
