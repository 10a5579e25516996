from django.db import migrations, models


class Migration(migrations.Migration):
    """The default is the database's, so that the first version can go on inserting."""

    dependencies = [("books", "0001_initial")]
    operations = [
        migrations.AddField("book", "reader", models.TextField(db_default="nobody")),
    ]
