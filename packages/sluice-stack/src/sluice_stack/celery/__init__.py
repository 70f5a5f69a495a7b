"""Celery for this stack: its application, worker, beat and publisher. Needs the extra `async`."""
