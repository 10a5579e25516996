"""What can go wrong, by who is to blame: the operator, the user, or the database."""


class NewsletterError(Exception):
    """The root of this package's errors."""


class SettingsError(NewsletterError):
    """The settings cannot work; the message names the one at fault and what would be right."""


class InvalidInputError(NewsletterError):
    """A user's request cannot be served as it is.

    Attributes:
        status: the answer's HTTP status.
        detail: what is wrong, for the user; it never repeats the input.
    """

    def __init__(self, detail: str, *, status: int = 400) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


class StoreError(NewsletterError):
    """The database refused or did not answer.

    Attributes:
        title: which of the two, in a few words that are the same for every such failure.
        sqlstate: Postgres' own code, where Postgres answered at all.
        refusal: its primary message, which names tables and columns but holds no row's data.
    """

    def __init__(
        self, title: str, *, sqlstate: str | None = None, refusal: str | None = None
    ) -> None:
        super().__init__(f"{title} ({sqlstate})" if sqlstate else title)
        self.title = title
        self.sqlstate = sqlstate
        self.refusal = refusal


class MailError(NewsletterError):
    """A mail was not accepted; the message holds the reason without any address.

    Attributes:
        code: the SMTP reply code, where the server answered at all.
    """

    def __init__(self, reason: str, *, code: int | None = None) -> None:
        super().__init__(f"{reason} ({code})" if code else reason)
        self.code = code
