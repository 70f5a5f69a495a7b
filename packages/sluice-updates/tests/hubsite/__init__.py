"""A small Django site of its own for the tests of the hub:

settings, ASGI application, and a control process.
"""
