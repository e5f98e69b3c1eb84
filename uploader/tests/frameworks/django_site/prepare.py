# What a deploy does before the site starts: tables, one user for the admin, static files with fingerprints.
import os

import django
from django.core.management import call_command

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "django_site.settings")
django.setup()
call_command("migrate", verbosity=0)
# Its password is in DJANGO_SUPERUSER_PASSWORD.
call_command("createsuperuser", interactive=False, username="keeper", email="keeper@shop.example", verbosity=0)
call_command("collectstatic", interactive=False, verbosity=0)
