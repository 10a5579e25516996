"""A second parser for every request: llhttp, through httptools.

Request smuggling lives where two parsers read the same bytes differently. Our grammar frames each
request by itself, and llhttp, which knows nothing of that, is fed the same bytes: it must see the
head end where we saw it end, and the message end where we saw it end. Only a request on which
both agree is forwarded.
"""

from httptools import HttpParserError, HttpParserInvalidMethodError, HttpParserUpgrade
from httptools import HttpRequestParser as Parser

from balancer.errors import MessageError


class SecondParser:
    """Parses the same bytes as our grammar; one for each connection of a client."""

    __slots__ = ("_heads", "_messages", "_parser")

    def __init__(self) -> None:
        self._heads = 0
        self._messages = 0
        self._parser = Parser(self)

    def on_headers_complete(self) -> None:
        """Called by httptools."""
        self._heads += 1

    def on_message_complete(self) -> None:
        """Called by httptools."""
        self._messages += 1

    def head(self, data: bytes, *, whole: bool) -> None:
        """Parse a head.

        Args:
            data: the head, from the first byte of its request line.
            whole: whether the message ends with it.

        Raises:
            MessageError: llhttp reads it differently.
        """
        self._heads = self._messages = 0
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as error:
            self._explain(error)
        if self._heads != 1 or self._messages != whole:
            raise MessageError(400, "two parsers disagree on where the request ends")

    def body(self, data: bytes | memoryview, *, end: bool) -> None:
        """Parse the next bytes of a body, framing included.

        Raises:
            MessageError: llhttp reads it differently.
        """
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as error:
            self._explain(error)
        if self._messages != end:
            raise MessageError(400, "two parsers disagree on where the request ends")

    def _explain(self, error: Exception) -> None:
        if isinstance(error, HttpParserUpgrade):
            # It will read no further; whether there is an upgrade is not for it to decide.
            self._parser = Parser(self)
        elif isinstance(error, HttpParserInvalidMethodError):
            raise MessageError(501, "the method is not known")
        else:
            raise MessageError(400, "malformed request")
