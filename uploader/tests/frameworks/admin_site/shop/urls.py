# The admin, under its usual path.
from django.contrib import admin
from django.urls import path

urlpatterns = [path("admin/", admin.site.urls)]
