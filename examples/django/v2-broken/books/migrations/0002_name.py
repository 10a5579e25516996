from django.db import migrations


class Migration(migrations.Migration):
    """One line for whoever writes it, and the end of every replica of the first version."""

    dependencies = [("books", "0001_initial")]
    operations = [migrations.RenameField("book", "title", "name")]
