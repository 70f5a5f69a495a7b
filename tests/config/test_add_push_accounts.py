"""docs/how-to/add-push.md: the commands for RabbitMQ's accounts can be repeated."""

from __future__ import annotations

import re

from bare_metal.guide import Guide

from harness.servers import RabbitMQ

ACCOUNTS = ("again-layer", "again-publisher")


def test_the_accounts_have_the_passwords_of_their_files_also_when_made_again(rabbitmq: RabbitMQ) -> None:
    """Each run creates new passwords. After an aborted run, the reader repeats the commands."""
    (block,) = [text for text in Guide.read("add-push.md").of("RabbitMQ") if "add_user" in text]
    # Use different names, because other tests use the page's names at the same broker.
    block = re.sub(r"\b(layer|publisher)\b", r"again-\1", block).replace("vhost asgi", "vhost again")
    files = rabbitmq.folder / "accounts"
    make = f"user=$(id --user --name)\n{block.replace('/etc/sluice', str(files))}"
    log_in = "\n".join(
        f'rabbitmqctl --quiet authenticate_user {name} "$(cat {files}/{name})" && echo {name} logs in'
        for name in ACCOUNTS
    )
    passwords = " ".join(f"{files}/{name}" for name in ACCOUNTS)
    try:
        first, second = (
            rabbitmq.shell(f"{{ {make}}} >/dev/null 2>&1; {log_in}\ncat {passwords}") for _ in range(2)
        )
    finally:
        for name in ACCOUNTS:
            rabbitmq.ctl("delete_user", name)
        rabbitmq.ctl("delete_vhost", "again")
    for said in (first, second):
        assert all(f"{name} logs in" in said for name in ACCOUNTS), said
    assert first != second
