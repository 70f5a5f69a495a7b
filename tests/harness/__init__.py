"""The tests' tools: a real stack booted from compose.yaml, named faults, a client of the protocol, and a
judge.
"""
