# A product and the file that describes it.
from django.db import models


class Product(models.Model):
    name = models.CharField(max_length=100, unique=True)
    price = models.DecimalField(max_digits=8, decimal_places=2)
    sheet = models.FileField(upload_to="sheets")

    def __str__(self):
        return self.name
