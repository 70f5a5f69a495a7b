"""The doctor: `manage.py doctor` checks a deployment from outside and inside.

A check is a function of the deployment (deployment.py) that yields findings (finding.py), good or bad. All of
them are listed in checks.py; a project adds its own by deployment.register. Nothing here changes a setting
or data of the site, and no finding contains a secret. docs/reference/doctor.md.
"""
