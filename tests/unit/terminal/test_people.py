from __future__ import annotations

import pytest

from parley.model import UserId
from parley.terminal.errors import ClientError
from parley.terminal.people import People

ALICE = UserId("0193a1b2-0000-7000-8000-000000000001")
BOB = UserId("0193a1b2-0000-7000-8000-000000000002")
CAROL = UserId("5d3f9c1e-7b2a-4c4d-9e8f-102030405060")


@pytest.fixture
def people() -> People:
    return People({"alice": ALICE})


@pytest.mark.parametrize(
    ("text", "user"),
    [("alice", ALICE), (" Alice ", ALICE), (CAROL, CAROL), (CAROL.upper(), CAROL)],
)
def test_finding(text: str, user: UserId, people: People) -> None:
    assert people.find(text) == user


def test_who_was_met_is_found_by_the_beginning_of_the_id(people: People) -> None:
    people.meet(CAROL)

    assert people.find("5d3f") == CAROL
    assert people.name(CAROL) == "5d3f9c1e"
    assert list(people) == [ALICE, CAROL]


def test_users_who_begin_alike_are_named_in_full(people: People) -> None:
    people.meet(BOB)

    assert people.name(BOB) == BOB
    assert people.name(ALICE) == "alice"
    with pytest.raises(ClientError, match=f"could be any of {ALICE}, {BOB}"):
        people.find("0193a1b2")


@pytest.mark.parametrize("text", ["", "bob", "5d3f9c1e"])
def test_nobody(text: str, people: People) -> None:
    with pytest.raises(ClientError, match="nobody who is known here: write one of alice, or the"):
        people.find(text)


def test_where_names_are_from() -> None:
    with pytest.raises(ClientError, match=r"the UUID of a user\. Names are those of `parley dev`"):
        People({}).find("alice")
