"""Real nodes and clients under load while something breaks, and what must hold when it is whole.

Each test is one fault.  ``crowd`` makes the load, ``evidence`` says what must
hold of what was sent, acknowledged, stored and shown.  ``make test`` has a short
form of each; ``make test-chaos`` breaks everything several times, and then
things at random.
"""
