"""The two ways in which something can go wrong for a client.

An error *reply*, :class:`ChatError`, tells the client that one of its requests
failed; the connection lives on.  A *disconnect* ends the connection, with a
:class:`parley.socketio.engine.CloseReason`.  They are different types so that
neither can be taken for the other, and what a client may do about them is
data, not prose.
"""

from __future__ import annotations

import enum


class ErrorCode(enum.StrEnum):
    """The stable, documented codes that clients may switch on."""

    BAD_REQUEST = "bad_request"
    """The data of an event has the wrong shape, type or size."""
    UNKNOWN_EVENT = "unknown_event"
    """There is no event of that name."""
    NOT_FOUND = "not_found"
    """No such chat, or it is not yours: the two answer alike."""
    ID_TAKEN = "id_taken"
    """The id chosen for a chat belongs to a different chat."""
    TOKEN_MISSING = "token_missing"
    TOKEN_INVALID = "token_invalid"
    TOKEN_EXPIRED = "token_expired"
    TOKEN_REVOKED = "token_revoked"
    """The operator ended the user's connections, and refuses the tokens that were issued before."""
    STORE_UNAVAILABLE = "store_unavailable"
    """The database did not answer; nothing is known to be stored. Retryable."""
    OVERLOADED = "overloaded"
    """Too much is waiting to be stored. Retryable."""
    RATE_LIMITED = "rate_limited"
    """The client sends more than it may. Retryable, after ``retryAfter``."""
    TOO_MANY_CONNECTIONS = "too_many_connections"
    """The user has as many connections as one user may have."""
    INTERNAL = "internal"
    """A fault of the server; its log has the details."""


class ChatError(Exception):
    """A request failed; the client is told so and its connection lives on.

    ``message`` is shown to the client: it says what to do and holds nothing
    internal.  ``retryable`` promises that the same request may succeed later;
    ``retry_after`` that it can't before so many milliseconds have passed.
    """

    def __init__(
        self,
        code: ErrorCode,
        message: str,
        *,
        retryable: bool = False,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.retryable = retryable
        self.retry_after = retry_after


class BackendAway(Exception):
    """A server that we rest on does not answer now; it may heal by itself.

    Carries operator-facing text only; it must never be sent to a client.
    """


class StoreUnavailable(BackendAway):
    """The store could not answer now; whether a commit happened is unknown."""


class BusUnavailable(BackendAway):
    """The bus could not be reached."""


class KeysUnavailable(BackendAway):
    """The keys of JWT_JWKS_URL could not be fetched now."""


class BackendBroken(Exception):
    """A server that we rest on cannot be used at all (no permission, not ours, ...).

    The message is one clear sentence for the operator.
    """


class StoreBroken(BackendBroken):
    """The store cannot be used at all."""


class BusBroken(BackendBroken):
    """The bus cannot be used at all."""


class KeysBroken(BackendBroken):
    """What JWT_PUBLIC_KEY or JWT_JWKS_URL names holds no keys that can be used."""


class ListenError(Exception):
    """There is no listening at an address; the message is one sentence that says what to do."""


class SettingsError(Exception):
    """The configuration is unusable; the message lists every problem at once."""
