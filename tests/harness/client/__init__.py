"""A client of the update protocol on all three transports, written from PROTOCOL.md alone and sharing no
code with the server.
"""
