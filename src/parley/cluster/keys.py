"""The keys in Redis; each begins with the prefix of the options, by default ``parley:``.

=================== ====== =========================================== ======================
key                 type   holds                                       lives
=================== ====== =========================================== ======================
``nodes``           set    the names of all nodes                      for good; names of
                                                                       nodes that have ended
                                                                       are removed by others
``node:NAME``       string the node's :class:`.registry.NodeRecord`,   15 s, renewed each
                           as JSON                                     second
``online:NAME``     set    the ids of the users with a device          15 s, renewed each
                           connected to that node                      second
=================== ====== =========================================== ======================

A node lives if its record exists; whatever else is said of one that has none
is left over and doesn't count.  No command names two keys, so that they may
lie on different nodes of a Redis cluster.
"""

from __future__ import annotations


def nodes(prefix: str) -> str:
    """The set of all nodes' names."""
    return f"{prefix}nodes"


def record(prefix: str, name: str) -> str:
    """The record of one node."""
    return f"{prefix}node:{name}"


def online(prefix: str, name: str) -> str:
    """The users who are connected to one node."""
    return f"{prefix}online:{name}"
