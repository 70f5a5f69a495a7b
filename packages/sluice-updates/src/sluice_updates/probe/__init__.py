"""The paths from a commit to a page, tried from outside."""
