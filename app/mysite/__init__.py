"""The sample site: Django's project."""
