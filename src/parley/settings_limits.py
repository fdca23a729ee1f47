"""The part of the settings that says how much clients may do, and how much may wait."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from parley.settings_fields import Count, Network, Rate, Seconds


class LimitSettings(msgspec.Struct, frozen=True, kw_only=True):
    """See :class:`parley.settings.Settings`."""

    message_max_length: Annotated[
        Count, Meta(description="The longest message, in characters.")
    ] = 10_000
    list_max_chats: Annotated[
        Count, Meta(description="The most chats in one `all messages` or `unreceived messages`.")
    ] = 10_000
    list_max_bytes: Annotated[
        int,
        Meta(
            ge=100_000,
            le=1_000_000_000,
            description="About how large one such list may be, in bytes.",
        ),
    ] = 16 * 1024 * 1024
    max_payload: Annotated[
        int,
        Meta(ge=1024, le=100_000_000, description="The largest packet of a client, in bytes."),
    ] = 1_000_000
    max_in_flight: Annotated[
        Count, Meta(description="Events of one connection that may await their answer at once.")
    ] = 512
    outbox_max_bytes: Annotated[
        int,
        Meta(
            ge=1024,
            le=1_000_000_000,
            description="Bytes that may wait for a client to read; above that it is "
            "disconnected and resumes later.",
        ),
    ] = 4 * 1024 * 1024
    commit_queue_max: Annotated[
        Count, Meta(description="Messages that may wait to be stored, in one process.")
    ] = 100_000

    rate_connection_events: Annotated[
        Rate, Meta(description="Events per second that one connection may send; 0: no limit.")
    ] = 5_000
    rate_connection_burst: Annotated[
        Count, Meta(description="Events that it may send at once, after a rest.")
    ] = 10_000
    rate_connection_bytes: Annotated[
        Rate,
        Meta(
            description="Bytes per second that one connection may send, and twice as many at "
            "once; 0: no limit."
        ),
    ] = 10_000_000
    rate_user_events: Annotated[
        Rate,
        Meta(
            description="As RATE_CONNECTION_EVENTS, for all connections of a user to one process."
        ),
    ] = 10_000
    rate_user_burst: Annotated[Count, Meta(description="As RATE_CONNECTION_BURST, for a user.")] = (
        20_000
    )
    rate_user_bytes: Annotated[Rate, Meta(description="As RATE_CONNECTION_BYTES, for a user.")] = (
        20_000_000
    )
    rate_user_connects: Annotated[
        Rate,
        Meta(
            description="Connections per second that a user may begin, at one process; 0: no limit."
        ),
    ] = 50
    rate_user_connects_burst: Annotated[
        Count, Meta(description="Connections that a user may begin at once.")
    ] = 1_000
    rate_address_events: Annotated[
        Rate,
        Meta(
            description="As RATE_CONNECTION_EVENTS, for all connections from an address (with "
            "IPv6: a /64 network) to one process. Many users may share one."
        ),
    ] = 0
    rate_address_burst: Annotated[
        Count, Meta(description="As RATE_CONNECTION_BURST, for an address.")
    ] = 20_000
    rate_address_bytes: Annotated[
        Rate, Meta(description="As RATE_CONNECTION_BYTES, for an address.")
    ] = 0
    rate_address_connects: Annotated[
        Rate,
        Meta(
            description="Connections per second that may begin from an address, at one process; "
            "0: no limit."
        ),
    ] = 100
    rate_address_connects_burst: Annotated[
        Count, Meta(description="Connections that may begin at once from an address.")
    ] = 2_000
    rate_patience: Annotated[
        Seconds,
        Meta(
            description="Seconds for which a client that sends too much is slowed before it is "
            "told so; and then, until it is disconnected if it goes on."
        ),
    ] = 5.0
    user_max_connections: Annotated[
        int,
        Meta(
            ge=0,
            le=10_000_000,
            description="Connections that one user may have to one process; 0: no limit.",
        ),
    ] = 1_000
    trusted_proxies: Annotated[
        tuple[Network, ...],
        Meta(
            description="Addresses and networks of your proxies, separated by commas. They are "
            "believed when they say for which address a request is, and not limited themselves.",
            examples=["10.0.0.7,10.1.0.0/16"],
        ),
    ] = ()
    trusted_proxy_header: Annotated[
        Literal["x-forwarded-for", "forwarded"],
        Meta(description="The header in which they say it."),
    ] = "x-forwarded-for"
