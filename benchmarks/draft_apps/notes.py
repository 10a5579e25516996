"""An application with an API, accounts and pages, whose replicas share one SQLite file (NOTES_DB).

Its OpenAPI document, a recording of a visit and an access log are what `hitless init --from` reads.
"""

import hashlib
import json
import os
import secrets
import sqlite3
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Form, HTTPException, Request
from fastapi.responses import HTMLResponse, PlainTextResponse, RedirectResponse
from fastapi.security import OAuth2PasswordBearer, OAuth2PasswordRequestForm
from pydantic import BaseModel

app = FastAPI(title="Notes", version="1.0")
bearer = OAuth2PasswordBearer(tokenUrl="login")
database = sqlite3.connect(os.environ["NOTES_DB"], check_same_thread=False, timeout=10)
database.isolation_level = None
database.execute("PRAGMA journal_mode=WAL")
database.execute(
    "CREATE TABLE IF NOT EXISTS things (id INTEGER PRIMARY KEY, kind TEXT, name TEXT, value TEXT)"
)

STYLE = "body { margin: 1em }"
HASH = hashlib.sha256(STYLE.encode()).hexdigest()[:8]
PAGE = """<!doctype html><link rel=stylesheet href="/static/app.{hash}.css"><title>Notes</title>
<form method=post action=/guestbook><input type=hidden name=csrf value="{csrf}">
<input name=email><input name=words><button>Send</button></form>
<button id=api onclick="call()">Call</button><script>
async function post(path, body, more) {{
  const headers = {{'Content-Type': 'application/json', ...more}};
  return (await fetch(path, {{method: 'POST', headers, body: JSON.stringify(body)}})).json();
}}
async function call() {{
  const made = await post('/guest', {{words: 'hello'}});
  await fetch('/guest/' + made.entry.id);
  await post('/guest/like', {{entry_id: made.entry.id, n: 5}}, {{'X-Key': made.key}});
  document.title = 'done';
}}
</script>"""


class NewUser(BaseModel):
    """Who signs up."""

    email: str
    password: str


class NewNote(BaseModel):
    """What a user writes."""

    title: str
    text: str | None = None
    tags: list[str] = []


class Note(NewNote):
    """What is kept of it."""

    id: int


class Token(BaseModel):
    """What a login gives."""

    access_token: str
    token_type: str


def put(kind: str, name: str, value: Any) -> int:
    """Keep a thing; returns its number."""
    row = (kind, name, json.dumps(value))
    cursor = database.execute("INSERT INTO things (kind, name, value) VALUES (?, ?, ?)", row)
    return cursor.lastrowid or 0


def found(kind: str, *, name: str | None = None, number: int | None = None) -> Any:
    """A thing by its name or number, or None."""
    row = database.execute(
        "SELECT value FROM things WHERE kind = ? AND (name = ? OR id = ?)", (kind, name, number)
    ).fetchone()
    return None if row is None else json.loads(row[0])


def need(thing: Any) -> Any:
    """The thing.

    Raises:
        HTTPException: 404, there is none.
    """
    if thing is None:
        raise HTTPException(404)
    return thing


def me(token: Annotated[str, Depends(bearer)]) -> str:
    """The user of a token."""
    user = found("token", name=token)
    if user is None:
        raise HTTPException(401)
    return str(user)


@app.get("/health")
def health() -> dict[str, str]:
    """Whether it serves."""
    return {"status": "ok"}


@app.post("/users", status_code=201)
def register(user: NewUser) -> dict[str, str]:
    """Sign up."""
    if found("user", name=user.email) is not None:
        raise HTTPException(409)
    put("user", user.email, user.password)
    return {"email": user.email}


@app.post("/login")
def login(form: Annotated[OAuth2PasswordRequestForm, Depends()]) -> Token:
    """Log in."""
    if found("user", name=form.username) != form.password:
        raise HTTPException(401)
    token = secrets.token_hex(16)
    put("token", token, form.username)
    return Token(access_token=token, token_type="bearer")


@app.get("/notes")
def notes(user: Annotated[str, Depends(me)]) -> list[Note]:
    """The newest notes."""
    rows = database.execute(
        "SELECT id, value FROM things WHERE kind = 'note' ORDER BY id DESC LIMIT 20"
    )
    return [Note(id=number, **json.loads(value)) for number, value in rows]


@app.post("/notes", status_code=201)
def create(note: NewNote, user: Annotated[str, Depends(me)]) -> Note:
    """Write a note."""
    return Note(id=put("note", "", note.model_dump()), **note.model_dump())


@app.get("/notes/{note_id}")
def read(note_id: int, user: Annotated[str, Depends(me)]) -> Note:
    """Read a note."""
    return Note(id=note_id, **need(found("note", number=note_id)))


@app.put("/notes/{note_id}")
def change(note_id: int, note: NewNote, user: Annotated[str, Depends(me)]) -> Note:
    """Change a note."""
    value = json.dumps(note.model_dump())
    database.execute("UPDATE things SET value = ? WHERE id = ? AND kind = 'note'", (value, note_id))
    return Note(id=note_id, **note.model_dump())


@app.delete("/notes/{note_id}", status_code=204)
def remove(note_id: int, user: Annotated[str, Depends(me)]) -> None:
    """Throw a note away."""
    database.execute("DELETE FROM things WHERE id = ? AND kind = 'note'", (note_id,))


@app.get("/search")
def search(q: str, limit: int = 10) -> list[str]:
    """Search."""
    return [q][:limit]


@app.get(f"/static/app.{HASH}.css", include_in_schema=False)
def style() -> PlainTextResponse:
    """The style, whose address changes with it."""
    return PlainTextResponse(STYLE, media_type="text/css")


@app.get("/", include_in_schema=False)
def page() -> HTMLResponse:
    """A page with a form, a hidden field and a script."""
    csrf = secrets.token_hex(12)
    response = HTMLResponse(PAGE.format(hash=HASH, csrf=csrf))
    response.set_cookie("csrf", csrf)
    return response


@app.post("/guestbook", include_in_schema=False)
def guestbook(
    request: Request,
    csrf: Annotated[str, Form()],
    email: Annotated[str, Form()],
    words: Annotated[str, Form()],
) -> RedirectResponse:
    """Each guest writes once, from the page."""
    if request.cookies.get("csrf") != csrf:
        raise HTTPException(403)
    if found("guest", name=email) is not None:
        raise HTTPException(409)
    return RedirectResponse(f"/thanks/{put('guest', email, words)}", 303)


@app.get("/thanks/{number}", include_in_schema=False)
def thanks(number: int) -> HTMLResponse:
    """Where the form leads."""
    need(found("guest", number=number))
    return HTMLResponse("<title>Thanks</title><p>Thanks.</p>")


@app.post("/guest", include_in_schema=False, status_code=201)
def guest(body: dict[str, Any]) -> dict[str, Any]:
    """What the script of the page calls."""
    key = secrets.token_hex(10)
    return {"entry": {"id": put("entry", "", key), "words": body["words"]}, "key": key}


@app.get("/guest/{number}", include_in_schema=False)
def entry(number: int) -> dict[str, Any]:
    """The same, read."""
    need(found("entry", number=number))
    return {"id": number}


@app.post("/guest/like", include_in_schema=False)
def like(body: dict[str, Any], request: Request) -> dict[str, bool]:
    """The same, with the key that it gave."""
    if found("entry", number=body["entry_id"]) != request.headers["x-key"]:
        raise HTTPException(403)
    return {"ok": True}
