"""Keys that somebody publishes at a URL, and changes now and then: a JWK Set (RFC 7517).

They are fetched at the start, then every few minutes, and when a token names
one that isn't known.  Who waits for that waits for the same fetch as all
others, and it is done every few seconds at most: nobody can have it done more
often by making names up.  What was fetched last is kept while nothing can be.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Sequence
from typing import Any, Final, Self

import msgspec

from parley.chat.ports import Key
from parley.errors import KeysBroken, KeysUnavailable
from parley.incidents import Incident, fault, tell
from parley.keys.fetch import fetch
from parley.keys.public import ALGORITHMS, MOST_KEYS, PublicKey, UnusableKey, read_jwk
from parley.keys.ring import fitting

logger = logging.getLogger(__name__)

MOST_WAITING: Final = 1000
"""Connects that wait for a fetch; more are told to come again."""


class _Set(msgspec.Struct):
    keys: list[Any]


_decode: Final = msgspec.json.Decoder(_Set).decode


class Pace(msgspec.Struct, frozen=True):
    """How often keys are fetched.  Seconds between the beginnings of two fetches."""

    usual: float = 300.0
    """When nobody asks."""
    retry: float = 30.0
    """When the last one failed, unless the usual is less."""
    spacing: float = 5.0
    """At least, whoever asks."""


class PublishedKeys:
    """Implements :class:`parley.chat.ports.Keys`; made by :meth:`open`."""

    def __init__(self, url: str, pace: Pace) -> None:
        self._url = url
        self._pace = pace
        # Reading all authorities takes long: once.
        self._tls = ssl.create_default_context() if url.startswith("https:") else None
        self._document = b""
        """What the keys were read from."""
        self._keys: Sequence[PublicKey] = ()
        self.algorithms: Sequence[str] = ALGORITHMS  # whichever the next keys are for
        self.fetched = 0
        self.failed = 0
        self._healthy = True
        self._began = 0.0
        """When the last fetch did, in the loop's time."""
        self._wanted = asyncio.Event()
        self.waiting = 0
        self._next: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        """The outcome of the fetch that has not begun."""
        self._keeper: asyncio.Task[None] | None = None

    @classmethod
    async def open(cls, url: str, pace: Pace) -> Self:
        """Fetch the keys, and keep them fresh from then on.

        Raises:
            KeysUnavailable: they can't be had now.
            KeysBroken: there are none that can be used.
        """
        keys = cls(url, pace)
        try:
            await keys._fetch()
        except KeysBroken as error:
            raise KeysBroken(f"JWT_JWKS_URL gives no keys: {error}.") from error
        keys._keeper = asyncio.create_task(keys._keep())
        return keys

    def find(self, algorithm: str, kid: str | None) -> Sequence[Key]:
        return fitting(self._keys, algorithm, kid)

    async def renew(self) -> bool:
        if self.waiting >= MOST_WAITING:
            return False
        self.waiting += 1
        self._wanted.set()
        try:
            return await asyncio.shield(self._next)
        finally:
            self.waiting -= 1

    async def close(self) -> None:
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait((self._keeper,))
        if not self._next.done():
            self._next.set_result(False)

    # -- within

    async def _keep(self) -> None:
        while True:
            await self._pause()
            asked, self._next = self._next, asyncio.get_running_loop().create_future()
            outcome = False
            try:
                outcome = await self._refresh()
            finally:
                asked.set_result(outcome)

    async def _pause(self) -> None:
        """Wait until it is time, or until somebody asks and the last fetch is a while ago."""
        pace = self._pace
        seconds = pace.usual if self._healthy else min(pace.usual, pace.retry)
        try:
            async with asyncio.timeout_at(self._began + seconds):
                await self._wanted.wait()
        except TimeoutError:
            return
        left = self._began + pace.spacing - asyncio.get_running_loop().time()
        await asyncio.sleep(max(0.0, left))
        self._wanted.clear()

    async def _refresh(self) -> bool:
        try:
            await self._fetch()
        except (KeysUnavailable, KeysBroken) as error:
            self._complain(error)
        except Exception:
            self.failed += 1
            fault(logger, "fetching the keys of JWT_JWKS_URL failed")
        else:
            if not self._healthy:
                logger.info("the keys of JWT_JWKS_URL can be had again")
            self._healthy = True
            return True
        self._healthy = False
        return False

    def _complain(self, error: Exception) -> None:
        self.failed += 1
        text = "no keys from JWT_JWKS_URL, those from before still count"
        tell(logger, Incident.KEYS_AWAY, text, reason=error)

    async def _fetch(self) -> None:
        self._began = asyncio.get_running_loop().time()
        document = await fetch(self._url, self._tls)
        if document != self._document:
            self._keys, ignored = read_set(document)
            self._document = document
            logger.info("keys from JWT_JWKS_URL: %d", len(self._keys))
            for complaint in ignored:
                text = "JWT_JWKS_URL has a key that is ignored"
                tell(logger, Incident.KEY_IGNORED, text, reason=complaint, always=True)
        self.fetched += 1


def read_set(document: bytes) -> tuple[list[PublicKey], list[str]]:
    """The keys of a JWK Set that can be used, and what is wrong with others.

    Raises:
        KeysBroken: there is none.
    """
    try:
        described = _decode(document).keys
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise KeysBroken("what is there is not a JWK Set (RFC 7517)") from None
    keys: list[PublicKey] = []
    complaints: dict[str, None] = {}
    for jwk in described[:MOST_KEYS]:
        try:
            keys.append(read_jwk(jwk if isinstance(jwk, dict) else {}))
        except UnusableKey as error:
            complaints[str(error)] = None
    if len(described) > MOST_KEYS:
        complaints[f"more than {MOST_KEYS} keys, and those behind them"] = None
    if not keys:
        raise KeysBroken(f"there is {'; '.join(complaints) or 'no key'}")
    return keys, list(complaints)
