from __future__ import annotations

import re
import socket

import pytest

from parley.cluster.address import bind
from parley.errors import ListenError
from parley.redis_options import RedisOptions


def redis_at(host: str) -> RedisOptions:
    """Nobody has to listen there."""
    return RedisOptions(host=host, port=6379)


@pytest.mark.parametrize("redis", ["127.0.0.1", "localhost"])
async def test_a_local_redis_is_reached_from_this_machine_only(redis: str) -> None:
    with await bind("", 0, redis_at(redis)) as sock:
        address, port = sock.getsockname()[:2]

        assert address in {"127.0.0.1", "::1"}
        socket.create_connection((address, port)).close()


async def test_the_address_towards_redis() -> None:
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect(("192.0.2.1", 6379))  # set aside for documentation; nothing is sent
            expected = probe.getsockname()[0]
    except OSError:
        pytest.skip("this machine has no network")

    with await bind("", 0, redis_at("192.0.2.1")) as sock:
        assert sock.getsockname()[0] == expected


async def test_an_address_that_was_set() -> None:
    with await bind("127.0.0.1", 0, redis_at("no-such-host.invalid")) as sock:
        assert sock.getsockname()[0] == "127.0.0.1"


async def test_a_port_that_was_set_is_had_or_not() -> None:
    with await bind("127.0.0.1", 0, redis_at("127.0.0.1")) as sock:
        port = sock.getsockname()[1]
        with pytest.raises(ListenError) as raised:
            await bind("127.0.0.1", port, redis_at("127.0.0.1"))

    assert str(raised.value) == (
        f"Listening for other nodes on 127.0.0.1, port {port}, failed: Address already in use. "
        "Check NODE_HOST and NODE_PORT."
    )
    with await bind("127.0.0.1", port, redis_at("127.0.0.1")) as sock:
        assert sock.getsockname()[1] == port


@pytest.mark.parametrize(
    ("host", "redis", "message"),
    [
        ("0.0.0.0", "127.0.0.1", "NODE_HOST is 0.0.0.0, and it must be one address of this"),
        ("::", "127.0.0.1", "NODE_HOST is ::, and it must be one address of this machine"),
        ("192.0.2.1", "127.0.0.1", "Listening for other nodes on 192.0.2.1, port 0, failed: "),
        ("no-such-host.invalid", "127.0.0.1", "no-such-host.invalid is not known here: check NO"),
        ("", "no-such-host.invalid", "no-such-host.invalid is not known here: check REDIS_HOST"),
        ("", "x" * 70 + ".example", "is not known here: check REDIS_HOST"),
        ("", "255.255.255.255", "There is no way to REDIS_HOST 255.255.255.255: "),
    ],
)
async def test_what_is_no_address_of_this_machine(host: str, redis: str, message: str) -> None:
    with pytest.raises(ListenError, match=re.escape(message)):
        await bind(host, 0, redis_at(redis))
