"""What figures depend on is found out."""

from __future__ import annotations

import time

from bench.machine import Host


def test_what_the_host_withholds_is_a_part_of_the_time() -> None:
    host = Host()
    assert 0 <= host.withheld() <= 1  # also when next to no time has passed
    enough = time.process_time() + 0.2
    while time.process_time() < enough:
        pass
    assert 0 <= host.withheld() < 1  # for we did get something
