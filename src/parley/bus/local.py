"""The bus of a single process: what is published arrives at once."""

from __future__ import annotations

from collections.abc import Callable

from parley.model import UserId


class LocalBus:
    """Passes each push straight on.  Loses, repeats and reorders nothing."""

    def __init__(self) -> None:
        self.losses = self.dropped = self.malformed = 0
        self._subscribed: set[UserId] = set()
        self._receive: Callable[[UserId, int, bytes], None] | None = None
        self.listened = False
        self._hear: Callable[[UserId, bytes], None] | None = None

    @property
    def connected(self) -> bool:
        return True

    def attach(
        self, receive: Callable[[UserId, int, bytes], None], restored: Callable[[], None]
    ) -> None:
        self._receive = receive

    def publish(self, owner: UserId, seq: int, packet: bytes) -> None:
        if owner in self._subscribed and self._receive is not None:
            self._receive(owner, seq, packet)

    def notify(self, owner: UserId, packet: bytes) -> None:
        if self._hear is not None and owner in self._subscribed:
            self._hear(owner, packet)

    def listen(self, hear: Callable[[UserId, bytes], None] | None) -> None:
        self._hear, self.listened = hear, hear is not None

    def announce_revocations(self) -> None:
        """There is no other node."""

    def on_revocations(self, look: Callable[[], None]) -> None:
        """Nobody will announce any."""

    async def subscribe(self, owner: UserId) -> None:
        self._subscribed.add(owner)

    def unsubscribe(self, owner: UserId) -> None:
        self._subscribed.discard(owner)

    def sizes(self) -> dict[str, int]:
        return {"bus_channels": len(self._subscribed), "bus_links": 0}

    async def close(self) -> None:
        self._subscribed.clear()
