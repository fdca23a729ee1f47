"""A Socket.IO server layer: Engine.IO v4 and Socket.IO v5 on uvicorn.

It knows nothing of chat; other applications can be built on it.  From the
bottom up:

``frames``, ``handshake``
    WebSocket, RFC 6455.  Sans-I/O.
``deadlines``, ``batch``
    Many deadlines on one timer; many packets in one write.
``protocol``, ``options``
    Engine.IO in words; what an application may set.
``peers``
    What is asked of other processes that serve the same clients.
``session``, ``engine``
    One session, whatever its transport; all of a process.
``polling``, ``payloads``; ``endpoint``
    The long-polling transport; its requests over HTTP, passed on to other
    processes where need be.
``front``; ``websocket``; ``upgrade``
    What a new connection is for; the WebSocket transport; how a session moves
    to it.
``peer_server``
    What other processes ask of this one.
``packets``, ``acks``
    Socket.IO packets and their attachments; acknowledgements awaited.
``events``, ``namespaces``, ``server``
    What an application sees of it: events, namespaces and their sockets; and
    the server with its connections.
"""
