"""A Socket.IO server layer: Engine.IO v4 and Socket.IO v5 on uvicorn.

It knows nothing of chat; other applications can be built on it.  From the
bottom up:

``frames``, ``handshake``
    WebSocket, RFC 6455.  Sans-I/O.
``deadlines``
    Many deadlines on one timer.
``engine``
    Engine.IO packets and sessions, whatever their transport.
``websocket``; ``polling``, ``payloads``
    The two transports.
``packets``
    Socket.IO packets and their attachments.
``namespaces``, ``server``
    What an application sees of it: namespaces, sockets, events and
    acknowledgements; and the server with its connections.
"""
