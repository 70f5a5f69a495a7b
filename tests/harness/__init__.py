"""What the tests stand on: a real stack booted from compose.yaml, faults by name, a client of the wire,
and a judge.
"""
