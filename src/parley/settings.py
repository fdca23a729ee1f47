"""Everything that can be set from outside, read once and checked as a whole.

Each field of :class:`Settings` is the environment variable of the same name in
upper case; ``settings_loading`` reads them.  Nothing but ``app`` and ``cli``
reads settings.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from msgspec import Meta

from parley.settings_fields import SECRET, ListenPort, Origin, Port, Seconds, fields_of
from parley.settings_limits import LimitSettings


class Settings(LimitSettings, frozen=True, kw_only=True):
    """A complete, consistent configuration; made by ``load_settings``.

    ``repr()`` and ``str()`` never show a secret.
    """

    jwt_secret_key: Annotated[
        str,
        Meta(
            description="The secret with which your application signs its JWTs (HS256). If it "
            "signs with a private key, set JWT_PUBLIC_KEY or JWT_JWKS_URL instead.",
            examples=["a-long-random-text"],
            extra=SECRET,
        ),
    ] = ""
    database_type: Annotated[
        Literal["sqlite", "postgres"],
        Meta(
            description="Where messages are kept: sqlite (one process, one file) or postgres.",
            examples=["sqlite"],
        ),
    ]
    database_db: Annotated[
        str,
        Meta(
            description="With sqlite the path of the database file, with postgres the "
            "database's name.",
            examples=["parley.db"],
        ),
    ]
    database_host: Annotated[
        str, Meta(description="The PostgreSQL server.", examples=["localhost"])
    ] = ""
    database_port: Annotated[
        Port, Meta(description="The PostgreSQL server's port.", examples=["5432"])
    ] = 5432
    database_user: Annotated[str, Meta(description="The PostgreSQL user.", examples=["parley"])] = (
        ""
    )
    database_password: Annotated[
        str,
        Meta(description="The PostgreSQL user's password.", examples=["a-password"], extra=SECRET),
    ] = ""
    database_tls: Annotated[
        Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"],
        Meta(description="Encryption to PostgreSQL, by the names of its sslmode."),
    ] = "prefer"
    database_tls_ca_file: Annotated[
        str, Meta(description="Certificates (PEM) to check PostgreSQL's with; empty: the system's.")
    ] = ""
    database_tls_cert_file: Annotated[
        str, Meta(description="A client certificate (PEM), if PostgreSQL asks for one.")
    ] = ""
    database_tls_key_file: Annotated[
        str, Meta(description="The private key of DATABASE_TLS_CERT_FILE (PEM).")
    ] = ""
    database_pool_size: Annotated[
        int,
        Meta(
            ge=1,
            le=100,
            description="PostgreSQL connections for reading, of each worker; one more writes.",
        ),
    ] = 4
    database_pooler: Annotated[
        bool,
        Meta(
            description="Set it to true behind a pooler such as PgBouncer in transaction mode: "
            "then nothing is kept in a PostgreSQL session."
        ),
    ] = False
    database_timeout: Annotated[
        Seconds, Meta(description="Seconds in which PostgreSQL must answer.")
    ] = 10.0
    redis_host: Annotated[
        str,
        Meta(
            description="The Redis server, or a node of the cluster, that connects the nodes.",
            examples=["localhost"],
        ),
    ] = ""
    redis_port: Annotated[Port, Meta(description="The Redis server's port.", examples=["6379"])] = (
        6379
    )
    redis_username: Annotated[str, Meta(description="The Redis user, if it has users (ACL).")] = ""
    redis_password: Annotated[
        str, Meta(description="The Redis server's password, if it has one.", extra=SECRET)
    ] = ""
    redis_db: Annotated[
        int, Meta(ge=0, le=65535, description="The number of the Redis database.")
    ] = 0
    redis_prefix: Annotated[
        str,
        Meta(
            max_length=100,
            description="Begins every key and channel in Redis. Parleys that share a Redis but "
            "not a database need different ones.",
        ),
    ] = "parley:"
    redis_tls: Annotated[
        bool, Meta(description="Encrypt the connections to Redis, and check its certificate.")
    ] = False
    redis_tls_ca_file: Annotated[
        str, Meta(description="Certificates (PEM) to check Redis's with; empty: the system's.")
    ] = ""
    redis_timeout: Annotated[
        Seconds, Meta(description="Seconds without an answer after which Redis counts as away.")
    ] = 5.0

    host: Annotated[
        str, Meta(description="The address to listen on. `parley dev` takes 127.0.0.1.")
    ] = "0.0.0.0"  # noqa: S104 - a server in a container has to be reachable
    port: Annotated[
        ListenPort, Meta(description="The port to listen on; 0 takes any free one.")
    ] = 3000
    workers: Annotated[
        int, Meta(ge=1, le=256, description="How many processes serve; sqlite allows one.")
    ] = 1
    node_host: Annotated[
        str,
        Meta(
            description="The address of this machine at which the other nodes reach it, in a "
            "private network. Empty: the one from which it reaches Redis."
        ),
    ] = ""
    node_port: Annotated[
        ListenPort,
        Meta(
            description="The first of 2 x WORKERS ports for the other nodes: one for each worker, "
            "and one for its successor. 0: any free ones.",
        ),
    ] = 0
    tls_cert_file: Annotated[
        str, Meta(description="A certificate chain (PEM), to serve https and wss directly.")
    ] = ""
    tls_key_file: Annotated[str, Meta(description="The private key of TLS_CERT_FILE (PEM).")] = ""
    allowed_origins: Annotated[
        tuple[Origin, ...],
        Meta(
            description="Web origins whose pages may connect, separated by commas; * is any, and "
            "not for the public. Empty: only pages from Parley's own address.",
            examples=["https://app.example.com,https://admin.example.com"],
        ),
    ] = ()
    page: Annotated[
        bool, Meta(description="Serve the web page, a chat client for the browser, at /.")
    ] = False
    jwt_user_claims: Annotated[
        tuple[str, ...],
        Meta(
            min_length=1,
            description="The claims that may hold the user's UUID, separated by commas; the "
            "first one present counts.",
            examples=["sub,id"],
        ),
    ] = ("sub", "id")
    jwt_previous_secret_key: Annotated[
        str,
        Meta(
            description="The JWT_SECRET_KEY before this one. While you change it, tokens signed "
            "with either are accepted.",
            extra=SECRET,
        ),
    ] = ""
    jwt_public_key: Annotated[
        str,
        Meta(
            description="Instead of JWT_SECRET_KEY: the public key of your application (RSA, "
            "P-256 or Ed25519), as PEM text or as the path of a PEM file. Both may hold several.",
            extra=SECRET,  # never shown: somebody may have set the private one
        ),
    ] = ""
    jwt_jwks_url: Annotated[
        str,
        Meta(
            description="Instead of JWT_SECRET_KEY: where your identity provider publishes its "
            "public keys, as a JWK Set. Needs JWT_ISSUER or JWT_AUDIENCE too.",
            examples=["https://login.example.com/.well-known/jwks.json"],
        ),
    ] = ""
    jwt_jwks_interval: Annotated[
        Seconds,
        Meta(description="Seconds between two fetches of JWT_JWKS_URL that no token asks for."),
    ] = 300.0
    jwt_issuer: Annotated[
        tuple[str, ...],
        Meta(
            description="Accept only tokens whose `iss` is one of these, separated by commas.",
            examples=["https://login.example.com/"],
        ),
    ] = ()
    jwt_audience: Annotated[
        tuple[str, ...],
        Meta(
            description="Accept only tokens whose `aud` names one of these, separated by commas.",
            examples=["chat"],
        ),
    ] = ()
    jwt_leeway: Annotated[
        float,
        Meta(
            ge=0,
            le=300,
            description="Seconds by which the clock of whoever signs tokens may differ from ours.",
        ),
    ] = 0.0
    jwt_revocation_lifetime: Annotated[
        float,
        Meta(
            ge=1,
            le=31_536_000,
            description="Seconds for which `parley kick` has a user's earlier tokens refused: at "
            "least as long as your tokens are valid.",
        ),
    ] = 86_400.0

    ping_interval: Annotated[
        Seconds, Meta(description="Seconds between two heartbeats of a connection.")
    ] = 25.0
    ping_timeout: Annotated[
        Seconds, Meta(description="Seconds in which a client must answer a heartbeat.")
    ] = 20.0
    connect_timeout: Annotated[
        Seconds, Meta(description="Seconds in which a new connection must present its token.")
    ] = 20.0
    inbox_check_interval: Annotated[
        Seconds,
        Meta(
            description="Seconds in which every connected user's inbox is compared with the "
            "database once, to find messages that Redis lost and that nothing followed."
        ),
    ] = 5.0
    startup_timeout: Annotated[
        Seconds,
        Meta(description="Seconds that a starting server waits for PostgreSQL and Redis."),
    ] = 60.0
    shutdown_grace: Annotated[
        Seconds, Meta(description="Seconds in which a stopping server finishes what it accepted.")
    ] = 10.0

    log_level: Annotated[
        Literal["debug", "info", "warning", "error"],
        Meta(description="The least important log lines to write."),
    ] = "info"
    log_format: Annotated[
        Literal["auto", "console", "json"],
        Meta(description="auto: for people on a terminal, JSON lines elsewhere."),
    ] = "auto"

    def __repr__(self) -> str:
        shown = (
            f"{field.attribute}="
            + ("'***'" if field.secret else repr(getattr(self, field.attribute)))
            for field in FIELDS
        )
        return f"Settings({', '.join(shown)})"


_LIMITS: Final = frozenset(LimitSettings.__struct_fields__)

FIELDS: Final = tuple(sorted(fields_of(Settings), key=lambda field: field.attribute in _LIMITS))
"""In the order in which people should meet them: limits last."""
