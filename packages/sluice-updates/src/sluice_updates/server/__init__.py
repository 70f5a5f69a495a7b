"""Daphne with an orderly end: `python -m sluice_updates.server`."""
