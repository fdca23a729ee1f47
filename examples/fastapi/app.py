"""A small application with users of its own, who chat through Parley.

To an application that has users already, Parley adds one thing: ``GET /token``.
All the rest here stands for what such an application has anyway.
"""

from __future__ import annotations

import os
import secrets
import sys
import time
from pathlib import Path
from typing import Annotated, Final

import jwt
from fastapi import Cookie, Depends, FastAPI, Form, HTTPException
from fastapi.responses import PlainTextResponse, RedirectResponse
from fastapi.staticfiles import StaticFiles

SECRET: Final = os.environ.get("JWT_SECRET_KEY") or sys.exit(
    "Set JWT_SECRET_KEY to the secret that Parley has."
)
PARLEY: Final = os.environ.get("PARLEY_URL", "http://127.0.0.1:3000")
TOKEN_SECONDS: Final = 15 * 60
"""Long enough to connect with.  The page asks for a new one whenever it connects."""
SESSION_COOKIE: Final = "example_session"
PAGE: Final = Path(__file__).parents[1] / "page"

USERS: Final = {
    "alice": "a11ce000-0000-4000-8000-000000000001",
    "bob": "b0b00000-0000-4000-8000-000000000002",
}
"""Names, and the ids by which Parley knows them; a real application asks its database."""
sessions: Final[dict[str, str]] = {}
"""Who is logged in, by the value of the cookie.  Forgotten when the program ends."""

app = FastAPI(title="An application that chats")


def logged_in(session: Annotated[str | None, Cookie(alias=SESSION_COOKIE)] = None) -> str:
    """The name of the user who asks."""
    name = sessions.get(session or "")
    if name is None:
        raise HTTPException(401, "Log in first.")
    return name


User = Annotated[str, Depends(logged_in)]


@app.post("/login")
def login(name: Annotated[str, Form()]) -> RedirectResponse:
    """Begin a session.  A real application asks for more than a name."""
    if name not in USERS:
        raise HTTPException(403, f"There is nobody of that name, only {' and '.join(USERS)}.")
    session = secrets.token_urlsafe(32)
    sessions[session] = name
    response = RedirectResponse("/", status_code=303)
    response.set_cookie(SESSION_COOKIE, session, httponly=True, samesite="lax")
    return response


@app.post("/logout")
def logout(
    session: Annotated[str | None, Cookie(alias=SESSION_COOKIE)] = None,
) -> RedirectResponse:
    """End the session, if there is one."""
    sessions.pop(session or "", None)
    response = RedirectResponse("/", status_code=303)
    response.delete_cookie(SESSION_COOKIE)
    return response


@app.get("/me")
def me(name: User) -> dict[str, object]:
    """What the page wants to know: who is logged in, whom to write to, and where Parley is."""
    return {"name": name, "users": USERS, "parley": PARLEY}


@app.get("/token")
def token(name: User) -> PlainTextResponse:
    """What Parley asks for: the user's id and two times, signed with the secret that both know."""
    now = int(time.time())
    claims = {"sub": USERS[name], "iat": now, "exp": now + TOKEN_SECONDS}
    signed = jwt.encode(claims, SECRET, algorithm="HS256")
    return PlainTextResponse(signed, headers={"Cache-Control": "no-store"})


app.mount("/", StaticFiles(directory=PAGE, html=True))
