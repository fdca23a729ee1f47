"""``parley.js``, as sites use it; what it must do is in ``node/sdk.test.mjs``."""

from __future__ import annotations

from pathlib import Path

import pytest

from parley.web import page
from tests.e2e.javascript import output_of, start_script
from tests.e2e.server import ChatServer, running

SDK = Path(page.__file__).parent / "static" / "parley.js"


@pytest.mark.node
async def test_it_does_what_it_promises(
    server: ChatServer, sdk_scripts: Path, tmp_path: Path
) -> None:
    limits = {
        "JWT_SECRET_KEY": server.secret,
        "RATE_CONNECTION_EVENTS": "20",
        "RATE_CONNECTION_BURST": "20",
        "RATE_PATIENCE": "0.5",
    }
    with running(ChatServer(tmp_path, limits)) as limited:
        settings = {
            "sdk": str(SDK),
            "url": server.url,
            "limited": limited.url,
            "secret": server.secret,
        }
        node = await start_script(sdk_scripts, settings, "sdk.test.mjs")
        await output_of(node, patience=100)


def test_it_is_small() -> None:
    assert SDK.stat().st_size < 10_000
