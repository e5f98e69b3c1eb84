# The paths of the site; the front's own are the edge's.
from django.contrib import admin
from django.urls import path

from django_site.products import views

urlpatterns = [
    path("admin/", admin.site.urls),
    path("api/session", views.session),
    path("api/products", views.products),
    path("api/products/<int:product_id>", views.product),
    path("api/products/<int:product_id>/sheet", views.sheet),
    path("api/catalogue", views.catalogue),
    path("api/latest", views.latest),
    path("api/cookies", views.cookies),
    path("api/broken", views.broken),
]
handler404 = views.not_found
handler500 = views.failed
