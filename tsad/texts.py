"""What log features are called for people: the text of their template."""

from storage.types import Alert


def template_texts(alert: Alert) -> dict[str, str]:
    """The template text of each log feature of an alert that has one."""
    texts: dict[str, str] = alert.evidence.get("texts", {})
    return texts
