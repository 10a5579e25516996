import json

from django.http import HttpRequest, JsonResponse
from django.shortcuts import get_object_or_404

from books.models import Book


def add(request: HttpRequest) -> JsonResponse:
    book = Book.objects.create(name=json.loads(request.body)["title"])
    return JsonResponse({"id": book.pk, "title": book.name}, status=201)


def show(request: HttpRequest, number: int) -> JsonResponse:
    book = get_object_or_404(Book, pk=number)
    return JsonResponse({"id": book.pk, "title": book.name})
