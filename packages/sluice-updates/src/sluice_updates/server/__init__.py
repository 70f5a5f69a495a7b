"""Daphne with a graceful stop: `python -m sluice_updates.server`."""
