"""What `deploy/nginx.conf` keeps from the public, and what it tells the server of its clients."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import urlsplit

import pytest

from tests.cluster import nginx as nginx_module
from tests.cluster.nginx import Nginx
from tests.page.dev import Answer, ask

from .server import ChatServer, running, wait_until

POLLING = "/socket.io/?EIO=4&transport=polling"
CLIENT = "81.2.69.142"


class Site(NamedTuple):
    """A server that believes nginx, which is before it."""

    server: ChatServer
    nginx: Nginx

    def ask(self, path: str, **headers: str) -> Answer:
        """One request to nginx."""
        port = urlsplit(self.nginx.url).port
        assert port is not None
        return ask(port, path, **headers)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    settings = {
        "TRUSTED_PROXIES": "127.0.0.1",
        "RATE_ADDRESS_CONNECTS": "1",
        "RATE_ADDRESS_CONNECTS_BURST": "1",
    }
    folders = [tmp_path_factory.mktemp(name) for name in ("server", "nginx")]
    server = ChatServer(folders[0], settings)
    with (
        running(server),
        nginx_module.running(folders[1], server, [server.port]) as nginx,
    ):
        yield Site(server, nginx)


@pytest.mark.parametrize(
    "path", ["/metrics", "/metrics?x", "/%6detrics", "//metrics", "/./metrics", "/x/../metrics"]
)
def test_metrics_are_not_for_the_public(site: Site, path: str) -> None:
    assert site.server.get("/metrics")[0] == 200
    assert site.ask(path).status == 404


def test_a_path_that_is_written_otherwise_is_the_same_one(site: Site) -> None:
    """Why a proxy has to decode it, before it decides what to hide."""
    assert site.server.get("/%6detrics")[0] == 200


def test_pages_of_the_address_that_clients_see_may_connect(site: Site) -> None:
    assert site.ask(POLLING, Origin=site.nginx.url).status == 200
    for other in (site.server.url, "https://evil.test"):
        assert site.ask(POLLING, Origin=other).status == 403


def test_clients_cannot_choose_the_address_that_they_count_for(site: Site) -> None:
    invented = {"X_Forwarded_For": CLIENT}
    assert {site.ask(POLLING, **invented).status for _ in range(20)} == {200}
    believed = (ask(site.server.port, POLLING, **invented).status for _ in range(20))
    assert 429 in believed


def test_session_ids_are_not_in_its_log(site: Site) -> None:
    sid = "an-id-that-nobody-has"
    before = site.nginx.statuses()[400]
    assert site.ask(f"{POLLING}&sid={sid}").status == 400
    wait_until(lambda: site.nginx.statuses()[400] > before, site.nginx.log)
    assert sid not in site.nginx.log()
