"""Edits a Django project: `sluice_init` writes what the package needs, and takes it out again.

`examine` runs in a process of its own, so that a broken project can't break the command: it imports the
project as it is, or as it would be after the edits.
"""
