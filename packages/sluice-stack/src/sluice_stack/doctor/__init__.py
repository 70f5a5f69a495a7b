"""What is wrong with a deployment, and what to change: the checks of `manage.py doctor`.

A check (finding.py) is something that has to hold, under a name that never changes, and a function that
looks. It yields a finding for each thing that it looked at, good or bad, with the cure in words. All of
them, in the order in which they are made, are in checks.py.

From outside, by bare HTTP, as a browser comes (front.py is nginx as it is asked, wire.py the bytes):
site.py pages, split.py who answers what, push.py the WebSocket, with a visitor.py of its own.
From inside, by each program's own settings (deployment.py): configuration.py, programs.py, versions.py,
database.py, broker.py, layer.py, limits.py. report.py writes what was found.

docs/reference/doctor.md has each check in a table.
"""
