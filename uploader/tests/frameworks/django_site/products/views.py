# The API of the site, for who is logged in: sessions, and the CSRF token in a header.
from functools import wraps

from django.db import IntegrityError, transaction
from django.http import FileResponse, HttpResponseRedirect, JsonResponse
from django.middleware.csrf import get_token
from django.shortcuts import get_object_or_404
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.gzip import gzip_page

from .models import Product


def problem(status, message, **headers):
    return JsonResponse({"problem": message}, status=status, headers=headers)


def allows(*methods):
    """Answers other methods with a body of this site's own."""

    def decorate(view):
        @wraps(view)
        def guarded(request, *arguments, **named):
            if request.method == "OPTIONS":
                return JsonResponse({"methods": methods}, headers={"Allow": ", ".join(methods)})
            if request.method not in methods:
                return problem(405, f"{request.method} is not for {request.path}", Allow=", ".join(methods))
            return view(request, *arguments, **named)

        return guarded

    return decorate


def for_users(view):
    @wraps(view)
    def guarded(request, *arguments, **named):
        if not request.user.is_authenticated:
            return problem(403, "log in first")
        return view(request, *arguments, **named)

    return guarded


def described(request, product):
    return {
        "id": product.id,
        "name": product.name,
        "price": str(product.price),
        "bytes": product.sheet.size,
        "sheet": request.build_absolute_uri(f"/api/products/{product.id}/sheet"),
    }


@allows("GET", "HEAD")
def session(request):
    """What the site knows of the request; sets the CSRF cookie."""
    return JsonResponse(
        {
            "user": request.user.get_username(),
            "csrf": get_token(request),
            "secure": request.is_secure(),
            "host": request.get_host(),
            "url": request.build_absolute_uri(),
            "forwarded": {name: request.headers.get(f"X-Forwarded-{name}") for name in ("For", "Host", "Proto")},
        }
    )


@allows("GET", "HEAD", "POST")
@for_users
def products(request):
    if request.method != "POST":
        if not request.accepts("application/json"):
            return problem(406, "products are told in JSON")
        return JsonResponse({"products": [described(request, product) for product in Product.objects.order_by("id")]})
    if "sheet" not in request.FILES:
        return problem(400, "a product needs a sheet")
    fields = {"name": request.POST["name"], "price": request.POST["price"], "sheet": request.FILES["sheet"]}
    try:
        with transaction.atomic():
            made = Product.objects.create(**fields)
    except IntegrityError:
        return problem(409, "there is a product of that name")
    made.refresh_from_db()
    place = request.build_absolute_uri(f"/api/products/{made.id}")
    return JsonResponse(described(request, made), status=201, headers={"Location": place})


@allows("GET", "HEAD", "DELETE")
@for_users
def product(request, product_id):
    found = get_object_or_404(Product, id=product_id)
    if request.method == "DELETE":
        found.sheet.delete(save=False)
        found.delete()
        return JsonResponse({}, status=200)
    return JsonResponse(described(request, found))


@allows("GET", "HEAD")
@for_users
def sheet(request, product_id):
    """The file as it was uploaded, streamed, under a name that is not ASCII."""
    found = get_object_or_404(Product, id=product_id)
    return FileResponse(found.sheet.open("rb"), as_attachment=True, filename=f"Blätter {found.name}.bin")


@csrf_exempt
@allows("GET", "HEAD")
@gzip_page
def catalogue(request):
    """An answer that the site compresses by itself."""
    return JsonResponse({"lines": [f"line {number} of the catalogue" for number in range(2000)]})


@allows("GET", "POST")
def latest(request):
    """A redirect to an absolute URL."""
    return HttpResponseRedirect(request.build_absolute_uri("/api/session?from=latest"))


@allows("GET", "HEAD")
def cookies(request):
    """Several cookies at once, each with attributes; tells those that came."""
    answer = JsonResponse({"cookies": request.COOKIES})
    answer.set_cookie("taste", "sweet; or, sour", max_age=600, path="/api/", secure=True, samesite="Lax")
    answer.set_cookie("hidden", "1", httponly=True, secure=True, samesite="Strict")
    answer.delete_cookie("old", path="/api/")
    return answer


def broken(request):
    raise RuntimeError("broken on purpose")


def not_found(request, exception):
    return problem(404, f"nothing is at {request.path}")


def failed(request):
    return problem(500, "the site failed")
