"""No statement of the PostgreSQL store scans a table, whatever the server believes of it."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from parley.store import postgres_statements as sql
from parley.store.postgres import END
from parley.store.postgres_commit import as_array, as_list
from parley.store.postgres_connect import PostgresOptions, connect
from parley.store.postgres_schema import prepare
from tests.services.postgres import Postgres

STATEMENTS = ["HEADS", "POSITION", "OLDEST", "NEWEST", "UNRECEIVED", "DELIVERED", "EXISTING"]
STATEMENTS += ["STORE", "MARK", "STORE_AND_MARK"]

FILL = """
WITH stored AS (
  INSERT INTO chats (receiver, id, sender, seq, created_at, received, message)
  SELECT lpad(owner::text, 32, '0')::uuid, gen_random_uuid(), gen_random_uuid(), seq, 0,
    seq % 3 > 0, 'hi'
  FROM generate_series(1, {owners}) AS owner, generate_series(1, {chats}) AS seq
  RETURNING receiver, seq, id
), entered AS (
  INSERT INTO inbox (owner, seq, kind, chat_id) SELECT receiver, seq, 1, id FROM stored
)
INSERT INTO heads (owner, seq) SELECT receiver, max(seq) FROM stored GROUP BY receiver"""


def person(number: int) -> str:
    return str(uuid.UUID(f"{number:032}"))


def arguments(name: str) -> list[object]:
    """What a statement is called with: a batch or a list of 50."""
    people = [person(number) for number in range(1, 51)]
    ids = [str(uuid.uuid4()) for _ in range(50)]
    numbers, received = as_list(["1"] * 50), as_list(["f"] * 50)
    stored = [people, numbers, people, ids, people, numbers, ["hi"] * 50, numbers, received]
    others: dict[str, list[object]] = {
        "HEADS": [as_list(people)],
        "POSITION": [person(1), str(uuid.uuid4())],
        "DELIVERED": [person(1), person(2), as_list(ids)],
        "EXISTING": [people, ids],
        "STORE": [*stored],
        "MARK": [people, ids],
        "STORE_AND_MARK": [*stored, people, ids],
    }
    return others.get(name, [person(1), 0, END, 50])


def literal(value: object) -> str:
    if isinstance(value, list):
        return f"'{as_array(value)}'"
    return f"'{value}'" if isinstance(value, str) else str(value)


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A plan and all of its parts."""
    yield plan
    for part in plan.get("Plans", []):
        yield from nodes(part)


def complaints(plan: dict[str, Any], *, pooler: bool) -> list[str]:
    """What in a plan may cost more than what it returns.

    Behind a pooler the server may choose to collect an owner's rows and to sort them.
    """
    found = []
    allowed = ["Index Scan", "ModifyTable", *(["Bitmap Heap Scan"] if pooler else [])]
    for node in nodes(plan):
        kind, table = node["Node Type"], node.get("Relation Name")
        if table and kind not in allowed:
            found.append(f"{kind} of {table}")
        if "Index Name" in node and "Index Cond" not in node:
            found.append(f"{kind} of the whole of {node['Index Name']}")
        if kind == "Nested Loop" and "moved" in (each.get("CTE Name") for each in nodes(node)):
            found.append("a chat is compared with every head")
    return found


class Planner:
    """Asks for the plans that the store's sessions make."""

    def __init__(self, connection: Any, options: PostgresOptions) -> None:
        self._connection, self._options = connection, options

    async def execute(self, statement: str) -> None:
        await self._connection.execute(statement)

    async def prepare(self) -> None:
        """Let the server make the plans that it will keep, if it keeps any."""
        for name in STATEMENTS if not self._options.pooler else []:
            await self.execute(f"PREPARE {name} AS {getattr(sql, name)}")
            await self.plan(name)

    async def complaints(self) -> dict[str, list[str]]:
        plans = {name: await self.plan(name) for name in STATEMENTS}
        found = {name: complaints(plans[name], pooler=self._options.pooler) for name in plans}
        return {name: complaint for name, complaint in found.items() if complaint}

    async def plan(self, name: str) -> dict[str, Any]:
        """How a statement would be carried out now."""
        explain = "EXPLAIN (FORMAT JSON)"
        values = arguments(name)
        if self._options.pooler:
            [(text,)] = await self._connection.fetch(f"{explain} {getattr(sql, name)}", *values)
        else:
            listed = ", ".join(map(literal, values))
            [(text,)] = await self._connection.fetch(f"{explain} EXECUTE {name}({listed})")
        plan: dict[str, Any] = json.loads(text)[0]["Plan"]
        return plan


@asynccontextmanager
async def planner(postgres: Postgres, *, pooler: bool) -> AsyncIterator[Planner]:
    """A session on a database of its own."""
    with postgres.temporary_database() as database:
        options = postgres.options(database=database, pooler=pooler)
        await prepare(options)
        connection = await connect(options)
        try:
            yield Planner(connection, options)
        finally:
            await connection.close()


# What a table holds, and what the server knows of that, when a statement is planned.
FIRST = ["SELECT", "ANALYZE"]
FEW = [FILL.format(owners=1, chats=2), "ANALYZE"]
FAT = [FILL.format(owners=100, chats=1000)]
MANY = [FILL.format(owners=2000, chats=15), "ANALYZE", "VACUUM (ANALYZE)"]


@pytest.mark.parametrize(
    "planned_after", [[], FIRST, FIRST + FEW, FAT], ids=["unknown", "empty", "few", "fat"]
)
async def test_plans_that_are_kept_scan_nothing(
    postgres: Postgres, planned_after: list[str]
) -> None:
    async with planner(postgres, pooler=False) as session:
        for statement in planned_after:
            await session.execute(statement)
        await session.prepare()
        for statement in ["SELECT", "TRUNCATE chats, inbox, heads", *MANY]:
            await session.execute(statement)
            assert await session.complaints() == {}, statement


async def test_plans_behind_a_pooler_scan_nothing(postgres: Postgres) -> None:
    """They are made each time; no table is scanned but one that fits in a page or two."""
    async with planner(postgres, pooler=True) as session:
        for statement in ["SELECT", *MANY]:
            await session.execute(statement)
            assert await session.complaints() == {}, statement


async def test_what_is_unreceived_is_read_in_order(postgres: Postgres) -> None:
    async with planner(postgres, pooler=False) as session:
        await session.prepare()
        limit = await session.plan("UNRECEIVED")
    assert [node["Node Type"] for node in nodes(limit)] == ["Limit", "Index Scan"]
    [scan] = limit["Plans"]
    assert scan["Index Name"] == "chats_unreceived"
    assert scan["Index Cond"] == "((receiver = $1) AND (seq > $2) AND (seq < $3))"


@pytest.mark.parametrize("pooler", [False, True])
async def test_chats_are_marked_after_all_heads_are_locked(
    postgres: Postgres, pooler: bool
) -> None:
    async with planner(postgres, pooler=pooler) as session:
        await session.prepare()
        plan = await session.plan("STORE_AND_MARK")
    [marked] = [node for node in nodes(plan) if node.get("Subplan Name") == "CTE marked"]
    [gate] = [node for node in marked["Plans"] if node["Node Type"] == "Result"]
    assert "One-Time Filter" in gate
    assert [node.get("CTE Name") for node in nodes(marked)].count("moved") == 1
