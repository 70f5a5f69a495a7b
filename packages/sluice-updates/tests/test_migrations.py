"""The migrations are complete, and run in both directions."""

from django.core.management import call_command

from sluice_updates import history, publish
from sluice_updates.positions import ZERO


def test_the_models_have_no_change_without_a_migration(database: str) -> None:
    call_command("makemigrations", "sluice_updates", check=True, dry_run=True, verbosity=0)


def test_down_and_up_again(database: str) -> None:
    call_command("migrate", "sluice_updates", "zero", database=database, verbosity=0)
    call_command("migrate", "sluice_updates", database=database, verbosity=0)
    publish("all", "e", {})
    assert [update.position.offset for update in history.read({"all": ZERO}).updates] == [1]
