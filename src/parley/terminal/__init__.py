"""Parley on a terminal: a client to chat with, and the means to show what people wrote.

``text``
    Colours where they are wanted; foreign text made harmless.
``errors``
    What may go wrong, in sentences.
``connection``
    One Socket.IO connection over a WebSocket.
``outbox``, ``client``
    A client that stays connected, sends what waits, and loses and doubles
    nothing.
``people``, ``transcript``
    Names for users; the lines of a conversation and their delivery marks.
``screen``, ``pipe``
    The client for people, and for other programs.
"""
