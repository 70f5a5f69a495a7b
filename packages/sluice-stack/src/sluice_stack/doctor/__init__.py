"""The doctor: `manage.py doctor` checks a deployment from outside and inside.

A check is a function that takes the deployment (deployment.py) and yields findings (finding.py), good or bad.
checks.py lists all checks. A project adds its own with deployment.register. No check changes a setting or the
site's data, and no finding contains a secret. Reference: docs/reference/doctor.md.
"""
