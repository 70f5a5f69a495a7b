"""Metrics of the stack's programs, besides those of sluice_updates.monitoring, which serves them."""
