"""The benchmark measures what it says: its load generator, and its report."""
