"""Soak: a crowd comes and goes for a while, and nothing of it stays behind in the servers."""
