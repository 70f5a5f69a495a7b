"""Gunicorn's configuration and worker: `gunicorn --config python:sluice_stack.gunicorn.configuration`."""
