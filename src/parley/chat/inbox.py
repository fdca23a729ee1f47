"""The order of one user's pushes on this node.

Each push has a position, ``seq``, in its owner's inbox.  Devices get them in
that order: the next one is pushed, one pushed before is dropped, and after a
gap the later ones wait until what is missing has been read from the store.
Sans-I/O: the caller reads the store.
"""

from __future__ import annotations

from typing import Final, Protocol

from parley.model import UserId

MAX_HELD: Final = 256
"""Later pushes that are held while one is missing; more are read from the store again."""


class Device(Protocol):
    """A connected device."""

    def send(self, packet: bytes) -> None:
        """Take an encoded packet; never blocks, never raises."""


class Inbox:
    """Where one user's pushes stand; all of the user's devices here share it."""

    __slots__ = ("_heard", "_held", "devices", "filling", "holders", "owner", "position")

    def __init__(self, owner: UserId) -> None:
        self.owner = owner
        self.position: int | None = None
        """The last ``seq`` that was pushed; None until it is known where to begin."""
        self.devices: tuple[Device, ...] = ()
        """Those that get what is pushed; a push may change this, so it is replaced as a whole."""
        self.holders = 0
        """How many connections, connected or about to be, need this."""
        self.filling = False
        """What is missing is being read."""
        self._heard = 0
        self._held: dict[int, bytes] | None = None

    def start(self, position: int) -> list[bytes]:
        """Begin after ``position``; returns what can be pushed of what came meanwhile."""
        self.position = position
        return self._next_held()

    def follow(self, seq: int) -> bool:
        """True if the push ``seq`` is the next and nothing is missing: it counts as pushed then."""
        position = self.position
        if position is None or seq != position + 1 or self._held or self._heard > seq:
            return False
        self.position = seq
        return True

    def offer(self, seq: int, packet: bytes) -> list[bytes]:
        """Take the push ``seq``; returns what is to be pushed now, in order."""
        position = self.position
        self.hear(seq)
        if position is not None and seq <= position:
            return []
        if position is None or seq != position + 1:
            if self._held is None:
                self._held = {}
            if len(self._held) < MAX_HELD:
                self._held[seq] = packet
            return []
        self.position = seq
        return [packet, *self._next_held()]

    def hear(self, seq: int) -> None:
        """Learn that the push ``seq`` exists, without getting it."""
        self._heard = max(self._heard, seq)

    def disbelieve(self) -> None:
        """Forget what was heard of beyond ``position``: it does not exist."""
        assert self.position is not None
        self._heard = self.position
        self._held = None

    def rewind(self, position: int) -> None:
        """Go on after an earlier ``position``: what had been pushed behind it does not exist."""
        self.position = position
        self.disbelieve()

    def skip(self, position: int) -> None:
        """Go on after a later ``position``: what wasn't pushed before it does not exist."""
        assert self.position is not None
        self.position = max(self.position, position)

    @property
    def missing(self) -> bool:
        """True while a push is known to exist that can't be made yet."""
        return self.position is not None and self._heard > self.position

    def _next_held(self) -> list[bytes]:
        held, position = self._held, self.position
        assert position is not None
        ready: list[bytes] = []
        if held is None:
            return ready
        while position + 1 in held:
            position += 1
            ready.append(held.pop(position))
        self.position = position
        self._held = {seq: held[seq] for seq in held if seq > position} or None
        return ready
