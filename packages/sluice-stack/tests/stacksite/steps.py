"""The project's own steps for `sluice_stack.migrate`."""

from sluice_stack.grants import READ

GRANTS = {"beat": {"django_admin_log": READ}}


def greet() -> str:
    return "hello"
