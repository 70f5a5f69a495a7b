"""A site without push: users sign in, write notes, and read everybody's.

The tests follow docs/how-to/add-push.md on it. It runs under Gunicorn and imports only Django.
"""
