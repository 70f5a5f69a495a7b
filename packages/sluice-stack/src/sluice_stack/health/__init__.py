"""Health checks: URLs for a process with a port, a heartbeat file for one without."""
