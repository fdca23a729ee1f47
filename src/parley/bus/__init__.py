"""Implementations of :class:`parley.chat.ports.Bus`."""
