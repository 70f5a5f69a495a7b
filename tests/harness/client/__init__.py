"""A client of the update protocol on all three transports. It is written from PROTOCOL.md alone and shares no
code with the server.
"""
