"""``parley dev``: a folder that holds all that a server needs to be tried out at once."""

from __future__ import annotations

import importlib.util
import os
import secrets
import shlex
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from uuid import UUID, uuid4

import msgspec

from parley.environment import read_variables
from parley.model import UserId
from parley.settings import Settings
from parley.settings_loading import load_settings
from parley.terminal.text import Paint
from parley.tokens import ReadyUser, mint_token

TOKEN_TTL = 30 * 86_400
DEFAULT_DATA = Path(".parley")
_NOT_HERE = (
    "JWT_PREVIOUS_SECRET_KEY",
    "JWT_PUBLIC_KEY",
    "JWT_JWKS_URL",
    "JWT_ISSUER",
    "JWT_AUDIENCE",
)
"""What another server's tokens must be like."""
_SECRET_FILE = "secret"
_USERS_FILE = "users.json"


class DevDataError(Exception):
    """The data folder cannot be used; the message is one sentence that says what to do."""


class DevUsers(msgspec.Struct, frozen=True):
    """The two people of every example."""

    alice: UUID
    bob: UUID

    def by_id(self) -> dict[UserId, str]:
        """Their names, by their ids."""
        return {UserId(str(user)): name for name, user in msgspec.structs.asdict(self).items()}


class DevData(msgspec.Struct, frozen=True):
    """What :func:`open_data` found or made."""

    folder: Path
    secret: str
    users: DevUsers

    def token(self, user: UUID) -> str:
        """A new token for ``user``, valid for 30 days."""
        return mint_token(self.secret, user, TOKEN_TTL)

    def ready_users(self) -> tuple[ReadyUser, ...]:
        """Everybody, each with a new token."""
        people = {"Alice": self.users.alice, "Bob": self.users.bob}
        return tuple(ReadyUser(name, user, self.token(user)) for name, user in people.items())


def open_data(folder: Path) -> DevData:
    """Make the folder, its secret and its users, or read those that it has.

    Only this user of the machine may look into it.  Raises ``DevDataError``.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Nobody should have to remember to keep the secret out of a repository.
        _write_once(folder / ".gitignore", "*\n")
        _write_once(folder / _SECRET_FILE, secrets.token_urlsafe(48) + "\n")
        users = DevUsers(alice=uuid4(), bob=uuid4())
        _write_once(folder / _USERS_FILE, msgspec.json.encode(users).decode() + "\n")
        return DevData(folder, _read_secret(folder), _read_users(folder))
    except (FileExistsError, NotADirectoryError) as error:
        raise DevDataError(
            f"The data folder {folder} cannot be made: a file is in the way. Choose another with "
            "--data."
        ) from error
    except OSError as error:
        raise DevDataError(
            f"The data folder {folder} cannot be used: {error.strerror}. Allow reading and writing "
            "there, or choose another with --data."
        ) from error


def find_secret(folder: Path) -> str | None:
    """The secret of the data folder, or None if there is none.  Raises ``DevDataError``."""
    try:
        return _read_secret(folder)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise DevDataError(
            f"{folder / _SECRET_FILE} cannot be read: {error.strerror}. Allow it, or set "
            "JWT_SECRET_KEY."
        ) from error


def find_users(folder: Path) -> DevUsers | None:
    """The users of the data folder, or None if there are none.  Raises ``DevDataError``."""
    try:
        return _read_users(folder)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise DevDataError(
            f"{folder / _USERS_FILE} cannot be read: {error.strerror}. Allow it, or name users by "
            "their UUIDs."
        ) from error


def dev_settings(
    data: DevData,
    environ: Mapping[str, str],
    overrides: Mapping[str, str],
    dotenv: Path | None = Path(".env"),
) -> Settings:
    """The settings of ``parley dev``: all but keys, users, store and workers may be set.

    Raises ``SettingsError``.
    """
    defaults = {"HOST": "127.0.0.1", "ALLOWED_ORIGINS": "*"}
    variables, _ = read_variables(environ, dotenv)  # load_settings reports the problems
    fixed = {
        "JWT_SECRET_KEY": data.secret,
        "JWT_USER_CLAIMS": "sub",
        "DATABASE_TYPE": "sqlite",
        "DATABASE_DB": str(data.folder / "parley.db"),
        "WORKERS": "1",
        "PAGE": "true",
    }
    return load_settings({**defaults, **variables, **overrides, **fixed}, dotenv, _NOT_HERE)


def banner(data: DevData, url: str) -> str:
    """What the newcomer reads: where it is, who is there, and how to try it."""
    users = data.users
    alice, bob = data.token(users.alice), data.token(users.bob)
    return f"""\
Parley is running at {url}
Its data is in {data.folder}. Stop it with Ctrl+C.

  Alice  {users.alice}
  token  {alice}

  Bob    {users.bob}
  token  {bob}

Alice writes to Bob: paste this into another terminal{_first_install_client()}.

{shlex.quote(_python())} - <<'END'
import socketio
url, alice, bob = "{url}", socketio.SimpleClient(), socketio.SimpleClient()
bob.connect(url, auth={{"token": "{bob}"}})
alice.connect(url, auth={{"token": "{alice}"}})
hello = {{"receiver": "{users.bob}", "message": "Hello Bob"}}
print("Stored:", alice.call("send message", hello, timeout=5))
print("Bob got:", bob.receive(timeout=5))
alice.disconnect(); bob.disconnect()
END

Bob listens in JavaScript (npm install socket.io-client):

import {{ io }} from "socket.io-client";
const bob = io("{url}", {{ auth: {{ token: "{bob}" }} }});
bob.on("message", (chat) => console.log(chat));
"""


def short_banner(data: DevData, url: str, paint: Paint) -> str:
    """What the newcomer reads on a terminal: links that log in, and what to type."""
    links = "\n".join(
        paint(f"  {name.capitalize():<7}", "bold") + paint(login_link(url, data, user), "underline")
        for user, name in data.users.by_id().items()
    )
    chat = f"{_command()} chat --as alice --to bob"
    if data.folder != DEFAULT_DATA:
        chat += f" --data {shlex.quote(str(data.folder))}"
    if url != "http://127.0.0.1:3000":
        chat += f" --url {url}"
    return f"""
{paint("Parley", "bold", "green")} is running at {paint(url, "bold")}

Log in with a click, each in a window of its own:
{links}

Or on another terminal:  {paint(chat, "cyan")}
{paint(f"Its data is in {data.folder}. Stop it with Ctrl+C. What happens:", "dim")}
"""


def login_link(url: str, data: DevData, user: UserId) -> str:
    """A link to the page that logs in as ``user``; a fragment does not reach any server's log."""
    return f"{url}/#token={data.token(UUID(user))}"


def _command() -> str:
    """How this command can be typed in the working directory."""
    path = Path(sys.argv[0])
    if path.name != "parley":  # python -m parley
        return f"{shlex.quote(_python())} -m parley"
    if shutil.which("parley") is not None:
        return "parley"
    return shlex.quote(os.path.relpath(path))


def _first_install_client() -> str:
    if importlib.util.find_spec("socketio") is not None:
        return ""
    return f"\n(after {shlex.quote(_python())} -m pip install 'python-socketio[client]')"


def _python() -> str:
    """This interpreter, as short as it can be written in the working directory."""
    path = Path(sys.executable)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def _write_once(path: Path, text: str) -> None:
    """Write a private file unless it is there; never leave half of one."""
    if path.exists():
        return
    draft = path.with_name(f"{path.name}.{os.getpid()}.new")
    draft.touch(mode=0o600)
    try:
        draft.write_text(text, encoding="utf-8")
        # Unlike a rename, a link does not replace what another start has just made.
        path.hardlink_to(draft)
    except FileExistsError:
        pass
    finally:
        draft.unlink()


def _read_secret(folder: Path) -> str:
    secret = (folder / _SECRET_FILE).read_text(encoding="utf-8", errors="replace").strip()
    if not secret:
        raise DevDataError(
            f"{folder / _SECRET_FILE} is empty: delete it, and `parley dev` makes a new one."
        )
    return secret


def _read_users(folder: Path) -> DevUsers:
    path = folder / _USERS_FILE
    try:
        return msgspec.json.decode(path.read_bytes(), type=DevUsers)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DevDataError(
            f"{path} is damaged ({error}): repair it, or delete it to get two new users."
        ) from error
