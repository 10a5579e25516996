from django.db import models


class Book(models.Model):
    """A book, whose title is called a name now."""

    name = models.TextField()
