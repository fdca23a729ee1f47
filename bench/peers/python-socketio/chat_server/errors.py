"""What a client is told when something went wrong."""

from __future__ import annotations


class ChatError(Exception):
    """``code`` is for programs, ``message`` for people."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


def bad_request(message: str) -> ChatError:
    """The data of an event is not as it must be; ``message`` says how."""
    return ChatError("bad_request", message)


def unauthorized(message: str) -> ChatError:
    """Whoever connects has no valid token."""
    return ChatError("unauthorized", message)


def not_found() -> ChatError:
    """For chats that don't exist and for those of others: the two must not be told apart."""
    return ChatError("not_found", "There is no such chat among those sent to you")


def internal() -> ChatError:
    """A fault of ours; the log has the details, and the client gets none."""
    return ChatError("internal", "The server failed to do this")
