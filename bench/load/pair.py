"""A sender and a receiver, and what is on its way between them."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from typing import Final

from .client import Client
from .faults import Faults
from .latency import Durations

_STAMP: Final = re.compile(rb"@(\d+)\.(\d+)@")
_CHAT_ID: Final = re.compile(rb'"id":\s*"([^"]+)"')
_ACKNOWLEDGEMENT: Final = re.compile(rb'43(\d+)(\[\{"error")?')


@dataclass(slots=True)
class Tally:
    """What all pairs of a run have sent and got.

    Flaws are counted all the time, ``sent`` and ``undelivered`` as well; the rest only while
    ``measuring``.
    """

    faults: Faults
    measuring: bool = False
    sent: int = 0
    delivered: int = 0
    acknowledged: int = 0
    latencies: Durations = field(default_factory=Durations)
    undelivered: int = 0
    lost: int = 0
    late: int = 0
    duplicated: int = 0
    reordered: int = 0
    unacknowledged: int = 0


@dataclass(frozen=True, slots=True)
class Traffic:
    """How the clients of a pair behave."""

    size: int
    """Characters of a message.  It may be longer if the number of the message does not fit."""
    receipts: bool
    acknowledgements: bool


class Pair:
    """Numbers its messages, so that whatever happens to one of them is seen."""

    def __init__(
        self, number: int, clients: tuple[Client, Client], traffic: Traffic, tally: Tally
    ) -> None:
        self._number = number
        self._sender, self._receiver = clients
        self._traffic = traffic
        self._tally = tally
        self._head = b'["send message",{"receiver":"%s","message":"' % (
            self._receiver.user.id.encode()
        )
        self._sent = self._newest = 0
        self._in_flight: dict[int, int] = {}
        """When each message was sent, in nanoseconds."""
        self._given_up = set[int]()
        self._unacknowledged = set[int]()
        self._refill = False
        self._receiver.on_message = self._arrived
        self._sender.on_acknowledgement = self._acknowledged

    @property
    def awaited(self) -> int:
        """How many messages and acknowledgements are on their way."""
        return len(self._in_flight) + len(self._unacknowledged)

    def keep_sending(self, window: int) -> None:
        """Keep so many messages on their way until :meth:`stop`."""
        self._refill = True
        for _ in range(window):
            self.send(time.monotonic_ns())

    def stop(self) -> None:
        """Send no more."""
        self._refill = False

    def send(self, now: int) -> None:
        """Send a message whose latency counts from ``now``, in nanoseconds."""
        self._sent = number = self._sent + 1
        self._in_flight[number] = now
        self._tally.sent += 1
        text = (b"@%d.%d@" % (self._number, number)).ljust(self._traffic.size, b"x")
        if self._traffic.acknowledgements:
            self._unacknowledged.add(number)
            self._sender.send(b'42%d%s%s"}]' % (number, self._head, text))
        else:
            self._sender.send(b'42%s%s"}]' % (self._head, text))

    def give_up(self, before: int) -> None:
        """Count as lost what was sent before then, in nanoseconds; send others in their place."""
        for number, sent in list(self._in_flight.items()):
            if sent >= before:
                break  # the rest was sent later
            self._lose(number)

    def end(self, *, overloaded: bool) -> None:
        """Count what is on its way as lost, unless an overloaded server may still have it."""
        if overloaded:
            self._tally.undelivered += len(self._in_flight)
            return
        for number in list(self._in_flight):
            self._lose(number)
        self._tally.unacknowledged += len(self._unacknowledged)

    def _lose(self, number: int) -> None:
        del self._in_flight[number]
        self._given_up.add(number)
        self._tally.lost += 1
        if self._refill:
            self.send(time.monotonic_ns())

    def _arrived(self, packet: bytes) -> None:
        stamp = _STAMP.search(packet)
        if stamp is None or int(stamp[1]) != self._number:
            self._tally.faults.count("somebody else's message")
            return
        if self._traffic.receipts:
            self._send_receipt(packet)
        number = int(stamp[2])
        sent = self._in_flight.pop(number, None)
        if sent is None:
            self._arrived_unexpectedly(number)
            return
        tally = self._tally
        if number < self._newest:
            tally.reordered += 1
        else:
            self._newest = number
        now = time.monotonic_ns()
        if tally.measuring:
            tally.delivered += 1
            tally.latencies.add(now - sent)
        if self._refill:
            self.send(now)

    def _arrived_unexpectedly(self, number: int) -> None:
        if number in self._given_up:
            self._given_up.remove(number)
            self._tally.lost -= 1
            self._tally.late += 1
        elif number > self._sent:
            self._tally.faults.count("a message that nobody has sent")
        else:
            self._tally.duplicated += 1

    def _send_receipt(self, packet: bytes) -> None:
        chat_id = _CHAT_ID.search(packet)
        if chat_id is None:
            self._tally.faults.count("a message without an id")
        else:
            self._receiver.send(b'42["receive message",{"chatId":"%s"}]' % chat_id[1])

    def _acknowledged(self, packet: bytes) -> None:
        answer = _ACKNOWLEDGEMENT.match(packet)
        number = int(answer[1]) if answer is not None else 0
        if answer is None or number not in self._unacknowledged:
            self._tally.faults.count("an acknowledgement that nobody waits for")
            return
        self._unacknowledged.remove(number)
        if answer[2] is not None:
            self._tally.faults.count("an acknowledgement with an error")
        elif self._tally.measuring:
            self._tally.acknowledged += 1
