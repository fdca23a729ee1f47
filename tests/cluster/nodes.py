"""A cluster: several nodes on one database and one Redis, and a balancer before them."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.e2e.server import ChatServer
from tests.services.balancer import Balancer


class Cluster:
    """Nodes that may be stopped, killed and started each by itself."""

    def __init__(self, folder: Path, settings: Mapping[str, str], *, nodes: int = 2) -> None:
        """``settings`` name the database and the Redis, and are the same for all nodes."""
        self.settings = {**settings, "JWT_SECRET_KEY": secrets.token_urlsafe(48)}
        self.nodes = [
            ChatServer(_made(folder / f"node-{number}"), self.settings)
            for number in range(1, nodes + 1)
        ]
        self.balancer = Balancer([node.port for node in self.nodes])

    @property
    def url(self) -> str:
        """The balancer's."""
        return self.balancer.url

    def token(self, user: str, **claims: Any) -> str:
        """A token for ``user``, which is good at every node."""
        return self.nodes[0].token(user, **claims)

    def start(self) -> None:
        """Start all nodes at once, and wait until they answer."""
        for node in self.nodes:
            node.launch()
        for node in self.nodes:
            node.wait_until_it_answers()

    def stop(self) -> None:
        """Stop all that run, at once; what must hold of every server is checked."""
        for node in self.nodes:
            if node.running:
                node.terminate()
        for node in self.nodes:
            if node.running:
                node.wait_until_stopped()
        for node in self.nodes:
            node.check_log()

    def kill(self) -> None:
        """End whatever runs, for want of a better way."""
        for node in self.nodes:
            if node.running:
                node.kill()


@contextmanager
def running(cluster: Cluster) -> Iterator[Cluster]:
    """Start a cluster, and stop it in the end."""
    with cluster.balancer:
        try:
            cluster.start()
            yield cluster
            cluster.stop()
        finally:
            cluster.kill()


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder
