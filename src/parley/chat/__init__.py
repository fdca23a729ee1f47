"""The rules of chat.  No driver and no socket: see ``ports`` for what they rest on."""
