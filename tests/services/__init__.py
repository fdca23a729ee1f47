"""Real servers for the tests, from the wheels that are installed with them."""
