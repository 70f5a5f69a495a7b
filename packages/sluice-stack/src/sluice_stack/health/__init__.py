"""The health checks: URLs for a process that has a port, a file for one that has none."""
