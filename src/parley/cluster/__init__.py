"""How the processes that serve the same clients find and talk to one another.

Each process is a *node*: a worker of this machine or of another.  A node has a
name, a record in Redis by which others find it (:mod:`.registry`), and a
socket on which it answers them (:mod:`.listener`, :mod:`.link`).  The ids of
its sessions begin with its name, so that whoever gets a request for a session
knows whom to ask (:mod:`.peers`).  Which users are connected where is in Redis
too (:mod:`.presence`).  :mod:`.node` puts it together.

What nodes say to one another is authenticated and not encrypted: like Redis,
the network between them must be a private one.
"""
