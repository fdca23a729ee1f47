"""The server as its users see it: started by its command, spoken to by real clients."""
