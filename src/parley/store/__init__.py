"""Implementations of :class:`parley.chat.ports.Store`, one module per database."""
