"""The probe: tries each path of an update from a commit to a page, from outside."""
