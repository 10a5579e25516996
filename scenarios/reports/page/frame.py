"""The frame of every page: one file, with its style and script inside and no way out."""

from collections.abc import Sequence
from importlib import resources

from scenarios.reports.page.drawing import escape


def page(title: str, body: str, script: str = "") -> str:
    """A whole HTML document.

    Args:
        title: plain text.
        body: HTML.
        script: elements that follow it.
    """
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
        "style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:\">"
        '<link rel="icon" href="data:,">'
        f"<title>{escape(title)}</title><style>{asset('report.css')}</style></head>"
        f"<body>{body}{script}</body></html>\n"
    )


def asset(name: str) -> str:
    """The text of a file that is part of the program."""
    return resources.files("scenarios.reports.page").joinpath("assets", name).read_text("utf-8")


def bullets(sentences: Sequence[str], style: str) -> str:
    """Sentences as a list of a class."""
    items = "".join(f"<li>{escape(sentence)}</li>" for sentence in sentences)
    return f'<ul class="{style}">{items}</ul>'


def table(head: Sequence[str], rows: Sequence[Sequence[str]], caption: str) -> str:
    """Rows as a table; nothing where there is none."""
    if not rows:
        return ""
    title = f"<caption>{escape(caption)}</caption>" if caption else ""
    top = "".join(f'<th scope="col">{escape(name)}</th>' for name in head)
    body = "".join(
        f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows
    )
    return (
        f'<div class="wide"><table>{title}<thead><tr>{top}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )
