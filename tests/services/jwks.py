"""Key pairs, the tokens that they sign, and a server that publishes their public halves."""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, TypeAlias

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import get_default_algorithms

PrivateKey: TypeAlias = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey

ISSUER: Final = "https://login.example.com/"

_MAKE: Final[dict[str, Callable[[], PrivateKey]]] = {
    "RS256": lambda: rsa.generate_private_key(65537, 2048),
    "PS256": lambda: rsa.generate_private_key(65537, 2048),
    "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate,
}
ALGORITHMS: Final = tuple(_MAKE)


class KeyPair:
    """A pair of keys, and how an identity provider describes it."""

    def __init__(self, algorithm: str = "ES256", kid: str | None = None) -> None:
        self.algorithm = algorithm
        self.kid = secrets.token_urlsafe(6) if kid is None else kid
        self.private = _MAKE[algorithm]()

    @property
    def pem(self) -> str:
        """The public half."""
        public = self.private.public_key()
        return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()

    def jwk(self, **changes: Any) -> dict[str, Any]:
        """The public half as a JSON Web Key; ``None`` leaves a member out."""
        algorithm = get_default_algorithms()[self.algorithm]
        jwk = algorithm.to_jwk(self.private.public_key(), as_dict=True)
        described = {**jwk, "kid": self.kid, "use": "sig", "alg": self.algorithm, **changes}
        return {name: value for name, value in described.items() if value is not None}

    def token(self, user: str, kid: str | None = "", **claims: Any) -> str:
        """A token that is valid for an hour, if ``claims`` say nothing else.

        ``kid``: what its header says instead of the key's own; None: nothing.
        """
        now = int(time.time())
        payload = {"sub": user, "iss": ISSUER, "iat": now, "exp": now + 3600, **claims}
        named = self.kid if kid == "" else kid
        headers = {} if named is None else {"kid": named}
        return jwt.encode(payload, self.private, algorithm=self.algorithm, headers=headers)


def document(*jwks: dict[str, Any]) -> bytes:
    """A JWK Set."""
    return json.dumps({"keys": jwks}).encode()


class JwksServer:
    """Publishes keys on a free port of 127.0.0.1, as long as it is told to."""

    def __init__(self, *pairs: KeyPair) -> None:
        self.requests = 0
        """So far."""
        self.status = 200
        self.headers: dict[str, str] = {}
        """Besides those that belong there."""
        self.body = b""
        self.gate = threading.Event()
        """Answers wait for it."""
        self.gate.set()
        self.publish(*pairs)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/keys.json?v=1"

    def publish(self, *pairs: KeyPair) -> None:
        """Give out these from now on, and no others."""
        self.body = document(*(pair.jwk() for pair in pairs))

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self.gate.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        jwks = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                jwks.requests += 1
                jwks.gate.wait()
                assert self.path == "/keys.json?v=1"
                self.send_response(jwks.status)
                for name, value in jwks.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(jwks.body)))
                self.end_headers()
                self.wfile.write(jwks.body)

            def log_message(self, format: str, *args: Any) -> None:
                """Nobody reads it."""

        return Handler


@contextmanager
def publishing(*pairs: KeyPair) -> Iterator[JwksServer]:
    """A server that publishes these pairs."""
    server = JwksServer(*pairs)
    server.start()
    try:
        yield server
    finally:
        server.stop()
