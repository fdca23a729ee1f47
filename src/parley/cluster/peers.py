"""Calls to the other nodes, and from them.  Implements :class:`parley.socketio.peers.Peers`."""

from __future__ import annotations

import asyncio
import logging
from typing import Final, TypeVar

import msgspec

from parley.cluster.connection import LinkOptions
from parley.cluster.link import CallFailed, Link, LinkLost, WrongNode, connect
from parley.cluster.listener import Method
from parley.cluster.redis_client import RedisUnavailable
from parley.cluster.registry import Registry
from parley.cluster.wire import UNREADABLE
from parley.incidents import Incident, fault, tell
from parley.socketio.peers import (
    MovedSession,
    PeerGone,
    Peers,
    PeerUnreachable,
    Poll,
    PollAnswer,
    UpgradeRefused,
    node_of,
)

logger = logging.getLogger(__name__)

ERRORS: Final = (PeerGone, PeerUnreachable, UpgradeRefused)
"""What a method of another node may raise for its caller."""

_PAUSE: Final = 0.5
"""Seconds for which a node that could not be reached isn't tried again."""
_MAX_FAILURES: Final = 1024
"""Nodes of which that is remembered: a client may name as many as it likes."""

_encode: Final = msgspec.msgpack.encode
_poll_answer: Final = msgspec.msgpack.Decoder(PollAnswer)
_moved_session: Final = msgspec.msgpack.Decoder(MovedSession)

T = TypeVar("T")

_Error = PeerGone | PeerUnreachable


class ClusterPeers:
    """Calls other nodes by name.  One link to each, made when it is first needed."""

    def __init__(self, registry: Registry, options: LinkOptions) -> None:
        self._registry = registry
        self._options = options
        self._links: dict[str, Link] = {}
        self._connecting: dict[str, asyncio.Task[Link | type[_Error]]] = {}
        self._failures: dict[str, type[_Error]] = {}
        """Nodes that could not be reached a moment ago, and what to raise."""
        self._closed = False

    async def ask(self, node: str, method: str, payload: bytes) -> bytes:
        """What a method of the node returns; see ``methods`` of :meth:`.Node.start`.

        Raises:
            PeerGone: the node has ended.
            PeerUnreachable: it doesn't answer at present, or the method failed.
        """
        link = self._links.get(node)
        if link is None or not link.open:
            link = await self._link_to(node)
        try:
            return await link.call(method, payload)
        except (LinkLost, CallFailed) as error:
            subject = type(error).__name__
            text = "another node did not answer"
            tell(logger, Incident.CALL_FAILED, text, reason=error, subject=subject, node=node)
            raise PeerUnreachable(str(error)) from error

    async def close(self) -> None:
        """End all links; whoever still waits for an answer gets PeerUnreachable.  Idempotent."""
        self._closed = True
        connecting = list(self._connecting.values())
        for task in connecting:
            task.cancel()
        await asyncio.gather(*connecting, return_exceptions=True)
        await asyncio.gather(*(link.close() for link in list(self._links.values())))

    def sizes(self) -> dict[str, int]:
        """How much is in each internal table."""
        return {
            "peer_links": len(self._links),
            "peer_connects": len(self._connecting),
            "peer_failures": len(self._failures),
        }

    # -- parley.socketio.peers.Peers

    async def poll(self, request: Poll) -> PollAnswer:
        answer = await self.ask(node_of(request.sid), "poll", _encode(request))
        return _read(_poll_answer, answer)

    async def end_poll(self, sid: str) -> None:
        await self.ask(node_of(sid), "end_poll", sid.encode())

    async def begin_upgrade(self, sid: str) -> None:
        await self.ask(node_of(sid), "begin_upgrade", sid.encode())

    async def abandon_upgrade(self, sid: str) -> None:
        await self.ask(node_of(sid), "abandon_upgrade", sid.encode())

    async def take_over(self, sid: str) -> MovedSession:
        answer = await self.ask(node_of(sid), "take_over", sid.encode())
        return _read(_moved_session, answer)

    # -- within

    async def _link_to(self, node: str) -> Link:
        """A new link; whoever needs it meanwhile waits for the same one."""
        failure = self._failures.get(node)
        if failure is not None:
            raise failure
        if self._closed:
            raise PeerUnreachable("this node is stopping")
        task = self._connecting.get(node)
        if task is None:
            task = self._connecting[node] = asyncio.create_task(self._connect(node))
            task.add_done_callback(lambda _: self._connecting.pop(node))
        try:
            outcome = await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.cancelled():  # by close(), and not whoever waits here
                raise PeerUnreachable("this node is stopping") from None
            raise
        if isinstance(outcome, Link):
            return outcome
        raise outcome

    async def _connect(self, node: str) -> Link | type[_Error]:
        """The link, or what to raise.  An outcome, because nobody may be waiting any more."""
        try:
            record = await self._registry.find(node)
            if record is None:
                return self._failed(node, PeerGone, None)
            link = await connect(record.address, record.port, record.key, ERRORS, self._options)
        except RedisUnavailable:
            return self._failed(node, PeerUnreachable, None)
        except (ConnectionRefusedError, WrongNode) as error:
            # Its record outlives a node that was killed; its port may be another's already.
            return self._failed(node, PeerGone, error)
        except (OSError, LinkLost) as error:
            return self._failed(node, PeerUnreachable, error)
        except Exception:
            fault(logger, f"connecting to node {node} failed")
            return self._failed(node, PeerUnreachable, None)
        self._links[node] = link
        link.ended.add_done_callback(lambda _: self._forget(node, link))
        return link

    def _failed(self, node: str, error: type[_Error], cause: Exception | None) -> type[_Error]:
        if cause is not None:
            reason = "no answer in time" if isinstance(cause, TimeoutError) else cause
            text = f"node {node} can't be reached"
            kind = Incident.NODE_UNREACHABLE
            tell(logger, kind, text, reason=reason, subject=node, node=node)
        if len(self._failures) < _MAX_FAILURES:
            self._failures[node] = error
            asyncio.get_running_loop().call_later(_PAUSE, self._failures.pop, node, None)
        return error

    def _forget(self, node: str, link: Link) -> None:
        if self._links.get(node) is link:
            del self._links[node]
            text = f"the link to node {node} has ended"
            tell(logger, Incident.LINK_LOST, text, reason=link.reason, always=True, node=node)


def _read(decoder: msgspec.msgpack.Decoder[T], answer: bytes) -> T:
    """What another node answered, which may be of another version.  Raises PeerUnreachable."""
    try:
        return decoder.decode(answer)
    except UNREADABLE as error:
        text = "a node's answer can't be read"
        tell(logger, Incident.CALL_FAILED, text, reason=error, subject="answer")
        raise PeerUnreachable("its answer can't be read") from error


def methods_of(sessions: Peers) -> dict[str, Method]:
    """What other nodes may call: the sessions of this one."""

    async def poll(body: bytes) -> bytes:
        return _encode(await sessions.poll(msgspec.msgpack.decode(body, type=Poll)))

    async def end_poll(body: bytes) -> bytes:
        await sessions.end_poll(body.decode())
        return b""

    async def begin_upgrade(body: bytes) -> bytes:
        await sessions.begin_upgrade(body.decode())
        return b""

    async def abandon_upgrade(body: bytes) -> bytes:
        await sessions.abandon_upgrade(body.decode())
        return b""

    async def take_over(body: bytes) -> bytes:
        return _encode(await sessions.take_over(body.decode()))

    return {
        method.__name__: method
        for method in (poll, end_poll, begin_upgrade, abandon_upgrade, take_over)
    }
