"""The errors that several rules answer with, in one wording."""

from __future__ import annotations

from parley.errors import ChatError, ErrorCode


def bad_request(message: str) -> ChatError:
    """The data of an event is not as it must be; ``message`` says how."""
    return ChatError(ErrorCode.BAD_REQUEST, message)


def not_found() -> ChatError:
    """For chats that don't exist and for those of others: the two must not be told apart."""
    return ChatError(ErrorCode.NOT_FOUND, "There is no such chat among those sent to you")


def token_expired() -> ChatError:
    """At connecting, and while connected."""
    return ChatError(ErrorCode.TOKEN_EXPIRED, "The token has expired: connect with a new one")


def token_revoked(reason: str) -> ChatError:
    """At connecting, and while connected; ``reason`` is the operator's, and may be empty."""
    why = f": {reason}" if reason else ""
    return ChatError(ErrorCode.TOKEN_REVOKED, f"The operator has ended your access{why}")


def store_unavailable() -> ChatError:
    """While the store is away."""
    return ChatError(
        ErrorCode.STORE_UNAVAILABLE,
        "The message store does not answer at the moment: try again later",
        retryable=True,
    )


def overloaded() -> ChatError:
    """More waits than the server lets wait."""
    return ChatError(
        ErrorCode.OVERLOADED, "The server is overloaded: try again later", retryable=True
    )


def rate_limited(wait: int) -> ChatError:
    """The client sends too much, and shall wait so many milliseconds."""
    return ChatError(
        ErrorCode.RATE_LIMITED,
        "You send too much at once: wait, and then send again what was refused",
        retryable=True,
        retry_after=wait,
    )


def too_many_connections() -> ChatError:
    """At connecting."""
    return ChatError(
        ErrorCode.TOO_MANY_CONNECTIONS,
        "You have too many connections: close some of them first",
    )


def internal() -> ChatError:
    """A fault of ours; the log has the details, and the client gets none."""
    return ChatError(ErrorCode.INTERNAL, "The server failed to do this")
