"""The load generator, a process of its own: ``python -m bench.load --help``.

It must be cheaper than what it measures, because it shares the machine with it.  So it looks into
packets no further than it has to, and opens WebSockets with picows, which is written in Cython.
"""
