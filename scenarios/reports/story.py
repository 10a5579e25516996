"""What is shown of a request's story besides its moments, in the terminal and on the page alike."""

from scenarios.reports.cause_words import text_of
from scenarios.verdict.story import Story

ABOUT = "About"
"""The name of the one fact that nearly every story has for itself: its subject."""


def facts(story: Story) -> tuple[tuple[str, str], ...]:
    """What is known of the request, as pairs of a name and a text; unknown things are left out."""
    why = None
    if story.cause is not None:
        why = text_of(story.title or "", story.cause, story.confidence or "certain")
    pairs = (
        ("Why", why),
        ("With", ", ".join(story.contributing)),
        ("During", story.step),
        ("Schema", story.schema),
        ("Journey", story.journey),
        ("Left", None if story.found is None else ", ".join(story.found) or "no row"),
        ("Led by", story.led_by),
        ("Led to", " ".join(story.led_to)),
        ("Balancer", None if story.logged else "its log has no line of this request"),
        (ABOUT, story.subject),
    )
    return tuple((name, text) for name, text in pairs if text)
