"""The node that the tests of a module share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .client import Honest
from .live import LiveNode, live_node


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveNode]:
    """It must have told of no error in the end, and keep nothing of anybody."""
    with live_node(tmp_path_factory.mktemp("node")) as node:
        yield node


@pytest.fixture
def honest(node: LiveNode) -> Iterator[Honest]:
    """Somebody who must still be served in the end, and nobody else be left."""
    with Honest(node) as client:
        yield client
        client.check()
        node.wait_until_idle(connections=1)
