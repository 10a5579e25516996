"""One user, one version: a cookie that names the version that a user first met.

During a canary some users are on the new version; without affinity each of their requests would
be dealt anew. The cookie holds nothing but the version's name, and is believed only as a
preference among versions that exist, so there is nothing in it to forge.
"""

import re


class Affinity:
    """Reads and writes the cookie.

    Args:
        name: the cookie's name, checked by `balancer.options`.
    """

    __slots__ = ("_name", "_pattern")

    def __init__(self, name: str) -> None:
        self._name = name
        self._pattern = re.compile(
            rb"(?:\A|;) *+" + re.escape(name.encode("ascii")) + rb"=([A-Za-z0-9._:-]{1,64})(?:;|\Z)"
        )

    def version(self, cookie: bytes | None) -> str | None:
        """The version that a Cookie field asks for."""
        match = None if cookie is None else self._pattern.search(cookie)
        return match[1].decode("ascii") if match else None

    def set_cookie(self, version: str) -> bytes:
        """The field line that binds a user to a version, for this browser session."""
        return f"Set-Cookie: {self._name}={version}; Path=/; HttpOnly; SameSite=Lax\r\n".encode(
            "ascii"
        )
