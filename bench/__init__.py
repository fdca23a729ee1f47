"""Measures Parley side by side with its peers: ``python -m bench``."""
