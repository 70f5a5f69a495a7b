"""Tries each path from a commit to a page, from outside."""
