"""A small project that pushes from Celery tasks as CATMAID does, for tests/config/test_catmaid.py."""
