"""The keys by which tokens are verified; implements :class:`parley.chat.ports.Keys`."""
