"""What is broken, and what goes on around it."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import pytest

from tests.e2e.clients import Devices, devices_of_a_test, mark_as_careless
from tests.services.postgres import Installation

from . import site as sites
from .form import IS_LONG
from .ordeal import Ordeal, reports
from .site import Place, Site

MakeOrdeal: TypeAlias = Callable[[Place], Ordeal]

collect_ignore = [] if IS_LONG else ["test_storm.py"]

_LONG_TEST = 900
"""Seconds."""


@pytest.fixture(scope="package")
def whole_site(
    postgres_installation: Installation, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    """Two nodes and all that they rest on, for all tests; three in the long form."""
    folder = tmp_path_factory.mktemp("chaos")
    with sites.running(folder, postgres_installation, nodes=3 if IS_LONG else 2) as site:
        yield site


@pytest.fixture
def site(whole_site: Site) -> Iterator[Site]:
    """The same, whole before each test and after it."""
    whole_site.heal()
    yield whole_site
    whole_site.heal()


@pytest.fixture
async def devices() -> AsyncIterator[Devices]:
    """Makes the clients of a test."""
    async with devices_of_a_test() as devices:
        yield devices


@pytest.fixture
def ordeal_at(request: pytest.FixtureRequest, devices: Devices) -> MakeOrdeal:
    """Makes what a place goes through in this test, and is reported under its name."""
    name = re.sub(r"\W+", "-", request.node.name.removeprefix("test_")).strip("-")
    return lambda place: Ordeal(name, place, devices)


@pytest.fixture
def ordeal(ordeal_at: MakeOrdeal, site: Site) -> Ordeal:
    """What the site goes through."""
    return ordeal_at(site)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    mark_as_careless(items, Path(__file__).parent)
    for item in items:
        if IS_LONG and item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.timeout(_LONG_TEST))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if reports:
        terminalreporter.section("time to recover")
    for report in reports:
        terminalreporter.line(str(report))
