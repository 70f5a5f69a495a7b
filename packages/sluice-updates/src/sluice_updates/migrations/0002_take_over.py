from django.db import migrations

from ._old_names import UPDATES, TakeOver


class Migration(migrations.Migration):
    dependencies = [("sluice_updates", "0001_initial")]
    operations = [TakeOver(UPDATES)]
