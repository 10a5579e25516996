"""The frame of every page: one file, with its style and script inside and no way out."""

from collections.abc import Sequence
from importlib import resources

from scenarios.reports.page.markup import Html

NOTHING = Html()


def page(title: str, body: Html, script: Html = NOTHING) -> str:
    """A whole HTML document.

    Args:
        title: plain text.
        body: HTML.
        script: elements that follow it.
    """
    return str(
        Html(
            '<!doctype html><html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
            "style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:\">"
            '<link rel="icon" href="data:,">'
            "<title>{}</title><style>{}</style></head>"
            "<body>{}{}</body></html>\n"
        ).format(title, asset("report.css"), body, script)
    )


def asset(name: str) -> Html:
    """A file of our own, such as a style sheet or a script."""
    file = resources.files("scenarios.reports.page").joinpath("assets", name)
    return Html(file.read_text("utf-8"))


def bullets(sentences: Sequence[str], style: str) -> Html:
    """Sentences as a list of a class."""
    items = Html().join(Html("<li>{}</li>").format(sentence) for sentence in sentences)
    return Html('<ul class="{}">{}</ul>').format(style, items)


def to_copy(name: str, text: str) -> Html:
    """A command or a path, with a button that copies it; the page's script shows the button."""
    return Html(
        '<p class="copy">{} <code>{}</code> <button type="button" data-copy="{}" hidden>'
        "copy</button></p>"
    ).format(name, text, text)


def table(head: Sequence[str], rows: Sequence[Sequence[str]], caption: str) -> Html:
    """Rows as a table; nothing where there is none. On a narrow screen each row is a card."""
    if not rows:
        return NOTHING
    title = Html("<caption>{}</caption>").format(caption) if caption else ""
    top = Html().join(Html('<th scope="col">{}</th>').format(name) for name in head)
    body = Html().join(
        Html("<tr>{}</tr>").format(
            Html().join(
                Html('<td data-label="{}">{}</td>').format(name, cell)
                for name, cell in zip(head, row, strict=True)
            )
        )
        for row in rows
    )
    return Html(
        '<div class="wide"><table>{}<thead><tr>{}</tr></thead><tbody>{}</tbody></table></div>'
    ).format(title, top, body)
