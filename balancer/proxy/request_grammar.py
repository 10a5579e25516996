"""What may stand in the head of a request, and which fields of it matter. Pure.

What requests and responses share is in `balancer.proxy.grammar`.
"""

import re
from typing import Final

from balancer.proxy.grammar import any_of

# RFC 3986 path characters. In a query, browsers send some more as they are (WHATWG URL, query
# percent-encode set), and nobody reads them as anything else: [ ] { } | ^ `
_PATH: Final = rb"/[A-Za-z0-9\-._~!$&'()*+,;=:@%/]*+"
ORIGIN: Final = _PATH + rb"(?:\?[A-Za-z0-9\-._~!$&'()*+,;=:@%/?\[\]{}|^`]*+)?+"
ORIGIN_FORM: Final = re.compile(ORIGIN + rb"\Z")
# RFC 9110 section 7.2: uri-host [":" port]; without userinfo, which no Host may have.
HOST_PATTERN: Final = (
    rb"(?:\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9\-._~!$&'()*+;=%]{1,255})(?::[0-9]{1,5})?"
)
HOST: Final = re.compile(HOST_PATTERN + rb"\Z")
ABSOLUTE_FORM: Final = re.compile(rb"(?i:https?)://(" + HOST_PATTERN + rb")([/?].*)?\Z")
# What a client may not say about itself, since backends believe it: where it is, by which name or
# path it came (X-Forwarded-* and kin), and the variables of CGI (RFC 3875 section 4.1), which
# some servers read out of fields of these names. Passed on for peers that are trusted.
_CLAIMS: Final[tuple[bytes, ...]] = (
    b"auth-type",
    b"cf-(?:connecting-ip(?:v6)?|ipcountry|visitor)", b"client-ip",
    b"document-(?:root|uri)",
    b"fastly-client-ip", b"front-end-https",
    b"gateway-interface",
    b"https",
    b"path-(?:info|translated)", b"proxy-client-ip",
    b"query-string",
    b"remote-(?:addr|host|ident|port|user)", b"request-(?:method|scheme|uri)",
    b"script-(?:filename|name|uri|url)", b"server-(?:addr|name|port|protocol|software)",
    b"true-client-ip",
    b"wl-proxy-client-ip",
    b"x-(?:appengine-user-ip|azure-(?:clientip|socketip)|client-ip|cluster-client-ip)",
    b"x-(?:envoy-external-address|forwarded(?:-[a-z0-9-]+)?|host|original-[a-z0-9-]+)",
    b"x-(?:originating-ip|proxyuser-ip|real-ip|remote-(?:addr|ip|user)|rewrite-[a-z0-9-]+)",
    b"x-(?:scheme|ssl(?:-[a-z0-9-]+)?|url-scheme)",
)  # fmt: skip
# These never pass: CGI turns `Proxy` into the variable HTTP_PROXY, and we write X-Forwarded-*.
_DROPPED: Final[tuple[bytes, ...]] = (b"forwarded", b"proxy")
_OTHERS: Final[tuple[bytes, ...]] = (
    b"connection", b"content-length", b"cookie", b"expect", b"host", b"http2-settings",
    b"idempotency-key", b"keep-alive", b"max-forwards",
    b"proxy-(?:connection|authorization|authenticate)", b"te", b"trailer", b"transfer-encoding",
    b"upgrade", b"via", b"x-request-id",
)  # fmt: skip
SPECIAL: Final[tuple[bytes, ...]] = (*_OTHERS, *_DROPPED, *_CLAIMS)
_ODD_NAME: Final = rb"-[^:\r]*+|[^:\r]*?(?:[!#$%&'*+.^_`|~]|--|-(?=:))[^:\r]*+"
SPECIAL_FIELD: Final = re.compile(
    rb"\n((?:" + any_of(SPECIAL) + rb")(?=:)|" + _ODD_NAME + rb"):[ \t]*+([^\r]*+)\r"
)
IS_CLAIM: Final = re.compile(rb"(?:" + any_of(_CLAIMS) + rb")\Z")
