"""The links of a mail, as what a user who clicks on one requests."""

from urllib.parse import quote, urlsplit

from scenarios.evidence.mail import Mail


def first_target(mail: Mail) -> str | None:
    """The target of the mail's first link that is a URL; None if no link is one."""
    for link in mail.links:
        try:
            return target_of(link)
        except ValueError:
            continue  # not a URL after all
    return None


def target_of(link: str) -> str:
    """The path and query of a mailed link: what a browser would put into its request line.

    Characters that may not stand there are percent-encoded, as a browser does.

    Raises:
        ValueError: the link is not a URL.
    """
    parts = urlsplit(link)
    path = quote(parts.path or "/", safe="/%!$&'()*+,;=:@~")
    query = quote(parts.query, safe="/%!$&'()*+,;=:@~?")
    return f"{path}?{query}" if query else path
