from django.db import models


class Book(models.Model):
    """A book on the shelf."""

    title = models.TextField()
