"""Who a client is: its token."""

from __future__ import annotations

from typing import Any

import jwt

from . import requests
from .errors import ChatError, unauthorized


def user_of(environ: dict[str, Any], auth: Any, secret: str) -> str:
    """The user whose token came with the handshake.

    Raises:
        ChatError: there is no valid token.
    """
    token = auth.get("token") if isinstance(auth, dict) else None
    token = token or environ.get("HTTP_AUTHORIZATION")
    if not isinstance(token, str):
        raise unauthorized("A token is needed")
    try:
        claims = jwt.decode(token.removeprefix("Bearer "), secret, algorithms=["HS256"])
        return requests.uuid(claims, "sub" if "sub" in claims else "id")
    except (jwt.InvalidTokenError, ChatError) as exc:
        raise unauthorized("The token is not valid") from exc
