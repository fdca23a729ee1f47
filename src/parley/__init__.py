"""Parley: a self-hosted chat server that speaks Socket.IO."""

__version__ = "0.1.0"
