"""The answers of the balancer itself are well-formed, and no cache keeps them."""

import pytest

from balancer.proxy import error_responses
from balancer.proxy.error_responses import ErrorResponse, render

ALL = [one for one in vars(error_responses).values() if isinstance(one, ErrorResponse)]
# RFC 9110, RFC 9111 and RFC 9209: every field that such an answer may have.
FIELDS = {
    "content-type", "content-length", "proxy-status", "cache-control", "retry-after", "connection",
}  # fmt: skip


@pytest.mark.parametrize("response", ALL, ids=lambda one: f"{one.status}-{one.details}")
@pytest.mark.parametrize("persistent", [True, False])
def test_an_answer_has_only_fields_that_exist(
    response: ErrorResponse,
    persistent: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    """Each answer is well-formed, names its error, and says `Cache-Control: no-store`."""
    sent = render(response, persistent=persistent, with_body=True)
    head, _, body = sent.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")[1:]
    fields = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    assert fields.keys() <= FIELDS
    assert fields["cache-control"] == "no-store"
    assert int(fields["content-length"]) == len(body)
    assert f"error={response.error}" in fields["proxy-status"]
    assert fields.get("connection") == (None if persistent else "close")
