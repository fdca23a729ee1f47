"""Every sslmode, against servers with and without TLS."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from parley.errors import StoreBroken, StoreUnavailable
from parley.store.postgres import PostgresStore
from tests.services.postgres import Postgres
from tests.services.postgres_tls import AUTHORITY, CERTIFICATE, KEY, tls_before

OURS = {"tls_ca_file": str(AUTHORITY)}


async def use(postgres: Postgres, **changes: Any) -> None:
    store = await PostgresStore.open(postgres.options(**changes))
    await store.ping()
    await store.commit([], [])
    await store.close()


@pytest.mark.parametrize(
    ("host", "mode", "files"),
    [
        ("127.0.0.1", "prefer", {}),
        ("127.0.0.1", "require", {}),
        ("127.0.0.1", "require", OURS),
        ("127.0.0.1", "verify-ca", OURS),
        ("127.0.0.1", "verify-full", OURS),
        ("localhost", "verify-full", OURS),
    ],
)
async def test_over_tls(postgres: Postgres, host: str, mode: str, files: dict[str, str]) -> None:
    async with tls_before(postgres.port) as port:
        await use(postgres, host=host, port=port, tls=mode, **files)


@pytest.mark.parametrize("mode", ["disable", "allow", "prefer"])
async def test_without_tls(postgres: Postgres, mode: str) -> None:
    await use(postgres, tls=mode)


@pytest.mark.parametrize("mode", ["require", "verify-ca", "verify-full"])
async def test_says_that_the_server_has_no_tls(postgres: Postgres, mode: str) -> None:
    with pytest.raises(StoreBroken, match=r"doesn't speak TLS; set it up there, or set DATABASE_"):
        await use(postgres, tls=mode, **OURS)


@pytest.mark.parametrize("mode", ["verify-ca", "verify-full"])
async def test_says_that_the_certificate_is_not_trusted(postgres: Postgres, mode: str) -> None:
    async with tls_before(postgres.port) as port:
        with pytest.raises(StoreBroken, match=r"isn't trusted \(.*\); name .* DATABASE_TLS_CA"):
            await use(postgres, port=port, tls=mode)


async def test_says_that_the_certificate_is_another_hosts(postgres: Postgres) -> None:
    async with tls_before(postgres.port) as port:
        # Another name of the same host.
        await use(postgres, host="127.1", port=port, tls="verify-ca", **OURS)
        with pytest.raises(StoreBroken, match=r"isn't trusted \(.*127\.1"):
            await use(postgres, host="127.1", port=port, tls="verify-full", **OURS)


async def test_a_client_certificate(postgres: Postgres) -> None:
    shown = {"tls_cert_file": str(CERTIFICATE), "tls_key_file": str(KEY)}
    async with tls_before(postgres.port, ask_for_certificate=True) as port:
        await use(postgres, port=port, tls="verify-full", **OURS, **shown)
        with pytest.raises(StoreUnavailable):
            await use(postgres, port=port, tls="verify-full", **OURS)


async def test_a_certificate_file_that_went_away_while_running(
    postgres: Postgres, tmp_path: Path
) -> None:
    ca_file = tmp_path / "ca.pem"
    ca_file.write_bytes(AUTHORITY.read_bytes())
    async with tls_before(postgres.port) as port:
        options = postgres.options(port=port, tls="verify-full", tls_ca_file=str(ca_file))
        store = await PostgresStore.open(options)
        ca_file.unlink()
        with pytest.raises(StoreUnavailable, match="certificate files"):
            await store.ping()
        ca_file.write_bytes(AUTHORITY.read_bytes())
        await store.ping()
        await store.close()


async def test_says_that_a_certificate_file_is_missing(postgres: Postgres, tmp_path: Path) -> None:
    with pytest.raises(StoreBroken, match=r"certificate files can't be used \(.*No such"):
        await use(postgres, tls="verify-full", tls_ca_file=str(tmp_path / "missing.pem"))
