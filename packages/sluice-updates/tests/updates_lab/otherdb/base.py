"""SQLite under another name: without a driver for MySQL, its backend can't be imported."""

from django.db.backends.sqlite3 import base


class DatabaseWrapper(base.DatabaseWrapper):
    vendor = "mysql"
    display_name = "MySQL"
