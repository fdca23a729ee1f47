"""Reads the settings from the environment, and says what is wrong with them, all at once."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import NODEFAULT

from parley.environment import read_variables
from parley.errors import SettingsError
from parley.keys.secret import is_asymmetric
from parley.keys.urls import url_problem
from parley.settings import FIELDS, Settings
from parley.settings_fields import LAST_PORT, NETWORK, Field
from parley.tls_files import TlsFile, authorities_problems, key_pair_problems

_ALWAYS_NEEDED = ("JWT_SECRET_KEY", "DATABASE_TYPE", "DATABASE_DB")
_KEY_SOURCES = ("JWT_SECRET_KEY", "JWT_PUBLIC_KEY", "JWT_JWKS_URL")
_NEEDED_WITH_POSTGRES = (
    "DATABASE_HOST",
    "DATABASE_PORT",
    "DATABASE_USER",
    "DATABASE_PASSWORD",
    "REDIS_HOST",
    "REDIS_PORT",
)


class Secret(msgspec.Struct, frozen=True):
    """What signs tokens, and what they have to say."""

    value: str
    issuer: str = ""
    """Empty: it doesn't matter."""
    audience: str = ""


class SettingRow(msgspec.Struct, frozen=True):
    """One line of the table of settings, for people to read."""

    name: str
    default: str
    """Empty: there is none, or it is empty."""
    needed: Literal["always", "with postgres", "never"]
    expected: str
    """What a value must be, in words."""
    description: str


def load_settings(
    environ: Mapping[str, str],
    dotenv: Path | None = Path(".env"),
    ignoring: Collection[str] = (),
) -> Settings:
    """Read, convert and check all settings.

    Variables of ``environ`` win over those of the file ``dotenv``, which need
    not exist.  A blank value is the same as none, and so are those that
    ``ignoring`` names.  Raises ``SettingsError`` with one message that lists
    every problem and never shows a secret.
    """
    variables, problems = read_variables(environ, dotenv)
    for name in ignoring:
        variables.pop(name, None)
    values: dict[str, Any] = {}
    needed: tuple[str, ...] = _ALWAYS_NEEDED
    if variables.get("DATABASE_TYPE", "").strip().lower() == "postgres":
        needed += _NEEDED_WITH_POSTGRES
    if any(source in variables for source in _KEY_SOURCES):
        needed = tuple(name for name in needed if name not in _KEY_SOURCES)
    for field in FIELDS:
        if (text := variables.get(field.name)) is not None:
            try:
                values[field.attribute] = _convert(field, text)
            except msgspec.ValidationError:
                problems.append(_bad(field, text))
        elif field.name in needed:
            problems.append(_missing(field))
    problems.extend(_contradictions(values))
    if problems:
        raise SettingsError(_message(problems))
    return Settings(**values)


def load_secret(environ: Mapping[str, str], dotenv: Path | None = Path(".env")) -> Secret | None:
    """``JWT_SECRET_KEY`` alone, from the same places and by the same rules; None if missing.

    Raises ``SettingsError``, also if public keys are set, because these sign nothing.
    """
    variables, problems = read_variables(environ, dotenv)
    if problems:
        raise SettingsError(_message(problems))
    value = variables.get("JWT_SECRET_KEY")
    public = [name for name in _KEY_SOURCES[1:] if name in variables]
    if value is None and public:
        raise SettingsError(
            f"{public[0]} is set: tokens are signed with a private key, which Parley doesn't have. "
            "Get one from your application; `parley chat` takes it with --token."
        )
    if value is None:
        return None
    parties = (_first(variables.get(name, "")) for name in ("JWT_ISSUER", "JWT_AUDIENCE"))
    return Secret(value, *parties)


def settings_table() -> list[SettingRow]:
    """All settings in the order in which people should meet them."""
    rows = []
    for field in FIELDS:
        needed: Literal["always", "with postgres", "never"] = "never"
        if field.name in _ALWAYS_NEEDED:
            needed = "always"
        elif field.name in _NEEDED_WITH_POSTGRES:
            needed = "with postgres"
        # What is needed has no default, even where the struct holds a usual value.
        default = _shown_default(field.default) if needed == "never" else ""
        expected = _expected(field.type)
        rows.append(SettingRow(field.name, default, needed, expected, field.description))
    return rows


def _first(text: str) -> str:
    """The first part of a list with commas."""
    return text.partition(",")[0].strip()


def _convert(field: Field, text: str) -> object:
    """``text`` as the field's type; raises ``msgspec.ValidationError``."""
    if not field.secret:
        text = text.strip()
    value: object = text
    if isinstance(field.type, msgspec.inspect.VarTupleType):
        value = [part.strip() for part in text.split(",") if part.strip()]
    elif isinstance(field.type, msgspec.inspect.LiteralType):
        value = text.lower()
    converted: object = msgspec.convert(value, field.annotation, strict=False)
    return converted


def _contradictions(values: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong although each value by itself is right."""
    if values.get("database_type") == "sqlite" and values.get("workers", 1) != 1:
        yield (
            f"WORKERS is {values['workers']}, and with DATABASE_TYPE=sqlite it must be 1: one "
            "process owns the file. Remove WORKERS, or use postgres."
        )
    for network in values.get("trusted_proxies", ()):
        try:
            ip_network(network, strict=False)
        except ValueError:
            yield (
                f'TRUSTED_PROXIES has "{network}". Each must be an IP address or a network, such '
                "as 10.0.0.7 or 10.1.0.0/16."
            )
    last = values.get("node_port", 0) + 2 * values.get("workers", 1) - 1
    if values.get("node_port") and last > LAST_PORT:
        yield (
            f"NODE_PORT is {values['node_port']}, and with {values.get('workers', 1)} workers the "
            f"ports up to {last} would be needed. Choose a lower one."
        )
    yield from _key_problems(values)
    for prefix in ("", "DATABASE_"):
        pair = [
            TlsFile(name, values.get(name.lower(), ""))
            for name in (f"{prefix}TLS_CERT_FILE", f"{prefix}TLS_KEY_FILE")
        ]
        yield from key_pair_problems(*pair)
    for name in ("DATABASE_TLS_CA_FILE", "REDIS_TLS_CA_FILE"):
        yield from authorities_problems(TlsFile(name, values.get(name.lower(), "")))


def _key_problems(values: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with the keys for tokens."""
    named = [name for name in _KEY_SOURCES if values.get(name.lower())]
    if len(named) > 1:
        yield f"{' and '.join(named)} are set, and one of them alone can count. Remove the others."
    if values.get("jwt_previous_secret_key") and "JWT_SECRET_KEY" not in named:
        yield "JWT_PREVIOUS_SECRET_KEY is set without JWT_SECRET_KEY. Set that too, or remove it."
    for name in ("JWT_SECRET_KEY", "JWT_PREVIOUS_SECRET_KEY"):
        if is_asymmetric(values.get(name.lower(), "")):
            yield (
                f"{name} holds a key of a key pair, and no secret: whoever knows the public one "
                "could sign tokens. Set JWT_PUBLIC_KEY to the public key instead."
            )
    if public := values.get("jwt_public_key"):
        # Late: it loads much that others don't need.
        from parley.keys.public import UnusableKey, read_public_keys  # noqa: PLC0415

        try:
            read_public_keys(public)
        except UnusableKey as error:
            yield str(error)
    if url := values.get("jwt_jwks_url"):
        if problem := url_problem(url):
            yield f"JWT_JWKS_URL {problem}."
        if not values.get("jwt_issuer") and not values.get("jwt_audience"):
            yield (
                "JWT_JWKS_URL needs JWT_ISSUER or JWT_AUDIENCE, better both: a provider signs "
                "tokens for others with the same keys. Set what your tokens have as iss and aud."
            )


def _missing(field: Field) -> str:
    text = f"{field.name} is missing. {field.description}"
    if field.name == "DATABASE_TYPE":
        text += f" With postgres these are needed too: {', '.join(_NEEDED_WITH_POSTGRES)}."
    return f"{text}\n    For example: {field.name}={field.example}"


def _bad(field: Field, text: str) -> str:
    shown = text if len(text) <= 60 else f"{text[:57]}..."
    value = "not usable" if field.secret else f'"{shown}"'
    example = f" For example: {field.name}={field.example}" if field.example else ""
    return f"{field.name} is {value}. It must be {_expected(field.type)}.{example}"


def _expected(kind: msgspec.inspect.Type) -> str:
    match kind:
        case msgspec.inspect.IntType(ge=low, le=high):
            return f"a whole number from {low} to {high}"
        case msgspec.inspect.FloatType(gt=low, le=high) if low is not None:
            return f"a number above {low:g} and at most {high:g}"
        case msgspec.inspect.FloatType(ge=low, le=high):
            return f"a number from {low:g} to {high:.0f}"
        case msgspec.inspect.BoolType():
            return "true or false"
        case msgspec.inspect.LiteralType(values=values):
            return f"one of {', '.join(map(str, values))}"
        case msgspec.inspect.VarTupleType(item_type=msgspec.inspect.StrType(pattern=pattern)) if (
            pattern == NETWORK
        ):
            return "a comma-separated list of IP addresses and networks (address/bits)"
        case msgspec.inspect.VarTupleType(item_type=msgspec.inspect.StrType(pattern=str())):
            return "a comma-separated list of origins (scheme://host:port, no / at the end)"
        case msgspec.inspect.VarTupleType():
            return "a comma-separated list with at least one name"
    return "text"


def _shown_default(default: object) -> str:
    if default is NODEFAULT:
        return ""
    if isinstance(default, tuple):
        return ",".join(default)
    if isinstance(default, bool):
        return str(default).lower()
    return f"{default:g}" if isinstance(default, float) else str(default)


def _message(problems: list[str]) -> str:
    count = "one problem" if len(problems) == 1 else f"{len(problems)} problems"
    lines = "\n".join(f"  - {problem}" for problem in problems)
    return (
        f"The settings have {count}:\n\n{lines}\n\n"
        "Set variables in the environment, or in a file named .env in the working directory. "
        "`parley start --help` lists them all."
    )
