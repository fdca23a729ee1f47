"""The chat server of the benchmark on python-socketio and asyncpg."""
