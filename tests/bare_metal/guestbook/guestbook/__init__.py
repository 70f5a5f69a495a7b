"""A site that knows nothing of push: people sign in, write notes, and read everybody's.

docs/how-to/add-push.md is followed on it. It runs under Gunicorn and imports nothing but Django.
"""
