"""Certificates and keys that settings name: whether they can be used, and else why not."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple


class TlsFile(NamedTuple):
    """A PEM file."""

    setting: str
    """What names it."""
    path: str
    """Empty: none is named."""


def key_pair_problems(certificate: TlsFile, key: TlsFile) -> Iterator[str]:
    """What is wrong with a certificate chain and its private key; nothing if neither is named."""
    if bool(certificate.path) != bool(key.path):
        there, absent = (certificate, key) if certificate.path else (key, certificate)
        yield (
            f"{absent.setting} is missing, and {there.setting} is of no use without it. Set both "
            "or neither."
        )
        return
    if not certificate.path:
        return
    unreadable = [*_unreadable(certificate), *_unreadable(key)]
    yield from unreadable
    if unreadable:
        return
    try:
        # The empty password makes an encrypted key an error instead of a prompt.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(
            certificate.path, key.path, password=""
        )
    except (ssl.SSLError, ValueError):
        yield (
            f"{certificate.setting} ({certificate.path}) and {key.setting} ({key.path}) are not a "
            "certificate and its unencrypted private key, both in PEM form."
        )


class ServerTls:
    """What a server presents that speaks TLS itself."""

    def __init__(self, certificate: TlsFile, key: TlsFile) -> None:
        """The files must have no :func:`key_pair_problems`."""
        self._files = certificate, key
        # With the ciphers that Python thinks safe, whatever the machine's configuration says.
        self.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._load()

    def renew(self) -> list[str]:
        """Take the files as they are now, for connections from now on.

        Returns what is wrong with them; then all stays as it is.
        """
        problems = [*key_pair_problems(*self._files)]
        if not problems:
            self._load()
        return problems

    def _load(self) -> None:
        certificate, key = self._files
        self.context.load_cert_chain(certificate.path, key.path, password="")


def authorities_problems(file: TlsFile) -> Iterator[str]:
    """What is wrong with a file of certificates to check others with; nothing if none is named."""
    if not file.path:
        return
    unreadable = [*_unreadable(file)]
    yield from unreadable
    if unreadable:
        return
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(file.path)
    except ssl.SSLError:
        yield f"{file.setting} ({file.path}) holds no certificates in PEM form."


def _unreadable(file: TlsFile) -> Iterator[str]:
    try:
        Path(file.path).open("rb").close()
    except OSError as error:
        yield f"{file.setting} names {file.path}, which cannot be read: {error.strerror}."
