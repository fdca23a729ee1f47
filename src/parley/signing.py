"""Which secret signs the tokens that Parley makes itself, to try things by hand."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from parley import devmode
from parley.errors import SettingsError
from parley.settings_loading import load_secret
from parley.tokens import Signer


class Secret(msgspec.Struct, frozen=True):
    """A secret and where it is from."""

    signer: Signer
    folder: Path | None = None
    """The data folder of `parley dev` that it was found in, if it was."""


def find_secret(environ: Mapping[str, str], data: Path | None) -> Secret:
    """That of the folder ``data``; without one ``JWT_SECRET_KEY``, or that of the usual folder.

    Raises:
        SettingsError: there is none, or tokens are signed with a private key.
        DevDataError: it can't be read.
    """
    configured = None if data else load_secret(environ)
    if configured is not None:
        return Secret(Signer(configured.value, configured.issuer, configured.audience))
    folder = data or devmode.DEFAULT_DATA
    found = devmode.find_secret(folder)
    if found is not None:
        return Secret(Signer(found), folder)
    if data:
        raise SettingsError(f"There is no secret in {folder}: run `parley dev --data {folder}`.")
    raise SettingsError(
        "JWT_SECRET_KEY is missing: set it, in the environment or in a file named .env, to "
        "the secret of the server that shall accept the token."
    )
