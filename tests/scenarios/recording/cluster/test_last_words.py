"""What a container wrote last is kept, and not what it wrote first."""

from scenarios.recording.cluster import reduced


def test_the_end_of_a_message_says_why_it_ended() -> None:
    """A traceback ends with its error; the reason to wait begins with the image."""
    text = "begin " + "line\n" * 200 + "KeyError: 'status'"
    wanted = {"name": "migrate", "image": "i"}
    ended = reduced.container(wanted, {"state": {"terminated": {"message": text}}})
    assert (ended.message or "").endswith("line KeyError: 'status'")
    waiting = reduced.container(wanted, {"state": {"waiting": {"message": text}}})
    assert (waiting.message or "").startswith("begin line")
