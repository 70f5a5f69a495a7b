from django.db import migrations

from sluice_updates.migrations._old_names import SESSIONS, TakeOver


class Migration(migrations.Migration):
    dependencies = [("sluice_updates_sessions", "0001_initial")]
    operations = [TakeOver(SESSIONS)]
