"""Shelves of books; the second version."""

import os
from typing import Any

from flask import Flask, abort, request
from sqlalchemy import create_engine, text

app = Flask(__name__)
engine = create_engine(os.environ["DATABASE_URL"])


@app.get("/health")
def health() -> dict[str, bool]:
    return {"healthy": True}


@app.post("/books")
def add() -> tuple[dict[str, Any], int]:
    book = {"shelf": "new", **(request.json or {})}
    with engine.begin() as connection:
        row = connection.execute(
            text(
                "INSERT INTO books (title, shelf) VALUES (:title, :shelf) "
                "RETURNING id, title, shelf"
            ),
            book,
        ).one()
    return dict(row._mapping), 201


@app.get("/books/<int:number>")
def show(number: int) -> dict[str, Any]:
    with engine.begin() as connection:
        row = connection.execute(
            text("SELECT id, title, shelf FROM books WHERE id = :id"), {"id": number}
        ).one_or_none()
    return abort(404) if row is None else dict(row._mapping)
