"""What the rules of chat need from the outside world, and what they may rely on.

Each protocol here has one contract suite in ``tests/contract`` that every
implementation passes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

import msgspec

from parley.answer import Answer
from parley.model import Chat, ChatId, InboxEntry, UserId


class NewChat(msgspec.Struct, frozen=True, gc=False):
    """A chat to be stored."""

    id: ChatId
    sender: UserId
    receiver: UserId
    message: str
    created_at: int
    """Milliseconds since the Unix epoch."""
    chosen_id: bool = False
    """The client chose ``id``: sending the same chat again must not store it twice."""


class Receipt(msgspec.Struct, frozen=True, gc=False):
    """``user`` says that it has received the chat ``chat_id``."""

    user: UserId
    chat_id: ChatId


class Stored(msgspec.Struct, frozen=True, gc=False):
    """The outcome of one :class:`NewChat`."""

    chat: Chat
    seq: int | None
    """Its position in the receiver's inbox; None if it had been stored before."""


class IdTaken(msgspec.Struct, frozen=True, gc=False):
    """The chosen id belongs to another chat in the receiver's inbox."""


class Marked(msgspec.Struct, frozen=True, gc=False):
    """The outcome of one :class:`Receipt`: the chat is the user's, and is marked received."""

    sender: UserId | None
    """Who sent it, if this is the first receipt of it; None if it had been marked before."""


AGAIN: Final = Marked(None)
"""The outcome of every receipt of a chat but the first."""


class Committed(msgspec.Struct, frozen=True, gc=False):
    """The outcomes of one transaction, each list in the order of its input."""

    chats: list[Stored | IdTaken]
    receipts: list[Marked | None]
    """None: the user was sent no such chat."""


class Page(msgspec.Struct, frozen=True, gc=False):
    """Which part of a list is wanted; positions are inbox ``seq`` numbers.

    ``after`` and ``before`` are exclusive.  At most ``limit`` chats (>= 1).
    """

    limit: int
    after: int = 0
    before: int | None = None


class Store(Protocol):
    """Durable chats and the inboxes they land in.

    Every method raises :class:`parley.errors.StoreUnavailable` if the store
    can't answer now.  All may be called concurrently on one event loop.
    """

    def commit(self, chats: Sequence[NewChat], receipts: Sequence[Receipt]) -> Answer[Committed]:
        """Store all of this in one transaction and answer after it is durable.

        - All or nothing: on any exception nothing is known to be stored (the
          outcome of a commit that was cut off is unknown).
        - Each chat gets the next ``seq`` of its receiver's inbox, in the order
          given; per receiver the numbers have no gap and no repeat, whichever
          process writes.
        - A chat is known by its receiver and its id.  One with a chosen id that
          exists already, with the same sender and text, is not stored again: its
          outcome is that chat, with ``seq`` None.  This holds within one call too.
        - Receipts are applied after the chats, so they may name chats of the
          same call.  Marking twice is fine.  Of all receipts of a chat, whoever
          commits them and when, one outcome names its sender.
        - Calls are never concurrent (the service has one committer).
        """
        ...

    async def heads(self, owners: Sequence[UserId]) -> Mapping[UserId, int]:
        """The last ``seq`` of each owner's inbox, 0 for an empty one.

        Includes every commit that had returned before the call.
        """
        ...

    async def entries(self, owner: UserId, after: int, limit: int) -> list[InboxEntry]:
        """The entries of ``owner`` with ``seq > after``, in order, at most ``limit``."""
        ...

    async def unreceived(self, owner: UserId, page: Page) -> list[InboxEntry]:
        """Entries whose chats ``owner`` hasn't marked received.

        In ``seq`` order; the *oldest* ``page.limit`` within the page's bounds.
        The cost depends on what is returned, not on what is stored.
        """
        ...

    async def received_by(self, owner: UserId, page: Page) -> list[InboxEntry]:
        """Entries of every chat sent to ``owner``.

        In ``seq`` order; the *newest* ``page.limit`` within the page's bounds,
        or the oldest if only ``page.after`` is given (non-zero).
        """
        ...

    async def position(self, owner: UserId, chat_id: ChatId) -> int | None:
        """The ``seq`` of a chat in ``owner``'s inbox; None if it isn't there."""
        ...

    async def delivered(
        self, sender: UserId, receiver: UserId, chat_ids: Sequence[ChatId]
    ) -> set[ChatId]:
        """Those of the chats that ``sender`` sent to ``receiver`` and that are marked received.

        The cost depends on how many are asked for, not on what is stored.
        """
        ...

    async def ping(self) -> None:
        """Return if the store answers."""
        ...

    async def close(self) -> None:
        """Finish what was accepted and release everything.  Idempotent."""
        ...


class Revocation(msgspec.Struct, frozen=True, gc=False):
    """What `parley kick` says of a user's tokens.  Times are milliseconds since the Unix epoch."""

    user: UserId
    issued_before: int
    """Tokens that were issued earlier are of no use, nor are those that don't say when."""
    until: int
    """From then on nothing is refused any more."""
    reason: str
    """What the user is told; may be empty."""
    version: int = 0
    """Every change has a higher one than those before it."""


class RevocationStore(Protocol):
    """Durable revocations, at most one for each user.

    Every method raises :class:`parley.errors.StoreUnavailable` if the store
    can't answer now.
    """

    async def put(self, revocation: Revocation) -> None:
        """Store this one, in place of what was said of the user before; its version is chosen here.

        Durable when this returns.  Several processes may do this at once.
        """
        ...

    async def newest(self) -> int:
        """The version of the latest change; 0 if there never was one."""
        ...

    async def changes(self, after: int, until_after: int, limit: int) -> list[Revocation]:
        """At most ``limit`` with ``version > after`` and ``until > until_after``, by version.

        Whoever has seen all changes up to a version never sees a lower one appear later.
        """
        ...


class Key(Protocol):
    """Verifies signatures by one algorithm, and by no other."""

    @property
    def algorithm(self) -> str:
        """Its name in RFC 7518, section 3.1, or RFC 8037."""

    @property
    def kid(self) -> str | None:
        """What tokens call it; None: nothing."""

    def verifies(self, content: bytes, signature: bytes) -> bool:
        """True if ``signature`` is the signature of ``content``; never raises."""
        ...


class Keys(Protocol):
    """The keys by which tokens may be signed."""

    fetched: int
    """Times that keys were fetched."""
    failed: int
    """Times that they could not be fetched."""
    waiting: int
    """How many wait for :meth:`renew`."""

    @property
    def algorithms(self) -> Sequence[str]:
        """Those of the keys, or of any that there may be after :meth:`renew`."""

    def find(self, algorithm: str, kid: str | None) -> Sequence[Key]:
        """The keys that may have signed a token that says this; few, and all of ``algorithm``."""
        ...

    async def renew(self) -> bool:
        """Return when the keys are newer than this call; False if they can't be had, or never.

        All who wait wait for the same fetch.
        """
        ...

    async def close(self) -> None:
        """Release everything.  Idempotent."""
        ...


class Bus(Protocol):
    """Carries pushes, and notices, to every node whose users they concern.

    Best effort by design: a bus may lose, repeat or reorder what it carries;
    the ``seq`` of each push lets the receiving node notice and repair that.
    A notice has no ``seq``: it is outside of the inbox, and one that is lost is
    not repaired.
    """

    losses: int
    """Times that the bus went away, in whole or in part."""
    dropped: int
    """Publishes that could not be carried."""
    malformed: int
    """What arrived and was not Parley's."""

    def sizes(self) -> Mapping[str, int]:
        """How much is in each internal table, by the same names at any time."""
        ...

    @property
    def connected(self) -> bool:
        """False while nothing can be carried, as far as this end knows."""
        ...

    @property
    def listened(self) -> bool:
        """True while a node, this one or another, may listen, as far as this end knows."""
        ...

    def publish(self, owner: UserId, seq: int, packet: bytes) -> None:
        """Pass an encoded packet on to all nodes that subscribed to ``owner``.

        Never blocks and never raises.  What can't be carried is dropped.
        """
        ...

    def notify(self, owner: UserId, packet: bytes) -> None:
        """Pass a notice on to the nodes that subscribed to ``owner`` and that listen.

        Never blocks and never raises.  What can't be carried is dropped.
        """
        ...

    def listen(self, hear: Callable[[UserId, bytes], None] | None) -> None:
        """Have notices for subscribed owners given to ``hear``; None: this node listens no more.

        Other nodes learn of it a little later; what they are told of before is not carried here.
        Never blocks and never raises.
        """
        ...

    def announce_revocations(self) -> None:
        """Have all other nodes look at the revocations in the store.

        Never blocks and never raises.  What can't be carried is dropped.
        """
        ...

    def on_revocations(self, look: Callable[[], None]) -> None:
        """Have ``look`` called when another node announces revocations."""
        ...

    async def subscribe(self, owner: UserId) -> None:
        """After this returns, publishes of any node for ``owner`` arrive here.

        Idempotent.  While the bus is away it returns without waiting; the
        subscription is made when the bus is back, before ``restored`` is called.
        """
        ...

    def unsubscribe(self, owner: UserId) -> None:
        """``owner`` has no device here any more."""
        ...

    def attach(
        self, receive: Callable[[UserId, int, bytes], None], restored: Callable[[], None]
    ) -> None:
        """Name the callbacks; called once, before the first subscribe.

        ``receive`` gets what arrives.  ``restored`` is called when the bus had
        been away, in whole or in part, and all subscriptions stand again: what
        was published meanwhile may be lost.
        """
        ...

    async def close(self) -> None:
        """Release everything.  Idempotent."""
        ...


class Presence(Protocol):
    """Tells others which users are connected to this node.  Best effort."""

    def joined(self, user: UserId) -> None:
        """``user`` has a first device here.  Never blocks and never raises."""
        ...

    def left(self, user: UserId) -> None:
        """``user`` has no device here any more."""
        ...


class Clock(Protocol):
    """Time, so that tests can move it."""

    def now(self) -> float:
        """Seconds since the Unix epoch; may jump in either direction."""
        ...
