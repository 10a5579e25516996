from django.db import models


class Book(models.Model):
    """A book, perhaps lent to somebody."""

    title = models.TextField()
    reader = models.TextField(db_default="nobody")
