"""What log features are called for people: the text of their templates."""

from storage.types import Alert


def template_texts(alert: Alert) -> dict[str, list[str]]:
    """Of each log feature of an alert: its template's text, or what the rare lines that it counts said."""
    told: dict[str, list[str]] = {name: [text] for name, text in alert.evidence.get("texts", {}).items()}
    told |= alert.evidence.get("said", {})
    return told
