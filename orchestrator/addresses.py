"""How an address is written: `host:port`."""


def host_port(host: str, port: int) -> str:
    """Return `host:port`, with brackets around an IPv6 host (RFC 3986, section 3.2.2)."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
