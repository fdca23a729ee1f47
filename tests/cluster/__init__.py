"""Several nodes on one PostgreSQL and one Redis, and what becomes of clients when parts fail."""
