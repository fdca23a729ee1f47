"""Anything that a client, a node, Redis or PostgreSQL may send: nothing of it does any harm.

``make test`` tries a little, the same at every run; ``make fuzz`` tries more, anew at every run,
for as long as it is told to.  See :mod:`.profile`, and :mod:`.__main__`.
"""
