"""What a person may call a thing that lists show and addresses hold."""


def fit_name(name: str) -> str:
    """`name`; ValueError where two of its kind would look alike in a list, or an address could not hold it."""
    if not 0 < len(name) <= 200 or not name.isprintable() or name != name.strip() or name in (".", ".."):
        raise ValueError(
            "a name of 1 to 200 characters is needed, none that does not show, no space at its ends, not . or ..; "
            f"got {name!r}"[:400]
        )
    return name
