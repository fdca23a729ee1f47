"""What may go wrong for a client."""

from __future__ import annotations

import msgspec


class ClientError(Exception):
    """The client cannot do what it is for; the message is one sentence that says what to do."""


class Lost(Exception):
    """There is no connection, or no longer; it may heal.  The message says why, in a few words."""


class Refused(Exception):
    """The server wants no connection with this token."""


class Failure(msgspec.Struct, frozen=True):
    """An error as the server tells it."""

    message: str
    """One line."""
    code: str
    event: str | None = None
    """The event that failed, if one did."""
    retryable: bool = False
    retry_after: int = msgspec.field(default=1_000, name="retryAfter")
    """If it is retryable: milliseconds after which it may be made again."""


class RequestFailed(Exception):
    """The server answered with an error; the connection lives on."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure
