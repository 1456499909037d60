"""Tokens: what is kept of them, how long they hold, and that a name is one token's for good."""

from datetime import timedelta

import pytest
from stored_samples import Clock, stored

from storage.engine import Database
from storage.tokens import Tokens, digest_of
from storage.types import StoreError


def test_a_token_is_known_by_what_its_bearer_says_and_not_kept(database: Database) -> None:
    clock = Clock()
    tokens = Tokens(database, clock)
    said, other = tokens.add("anna", "viewer"), tokens.add("ci", "ingest")
    assert said.startswith("tsad_")
    assert len({said, other}) == 2
    found = tokens.bearer(said)
    assert found is not None
    assert (found.name, found.role, found.created_at) == ("anna", "viewer", clock.now)
    assert [one.name for one in tokens.listing()] == ["anna", "ci"]
    kept = str(stored(database))
    assert said not in kept
    assert digest_of(said) in kept


@pytest.mark.parametrize("said", ["", "tsad_", "tsad_wrong", "\udcff", "a" * 10_000, "anna"])
def test_what_is_no_token_is_nobody(database: Database, said: str) -> None:
    tokens = Tokens(database, Clock())
    tokens.add("anna", "admin")
    assert tokens.bearer(said) is None


def test_a_token_ends_when_it_expires_or_is_revoked(database: Database) -> None:
    clock = Clock()
    tokens = Tokens(database, clock)
    short, long = tokens.add("short", "viewer", clock.now + timedelta(days=1)), tokens.add("long", "viewer")
    clock.now += timedelta(days=1) - timedelta(seconds=1)
    assert tokens.bearer(short) is not None
    clock.now += timedelta(seconds=1)
    assert tokens.bearer(short) is None
    tokens.revoke("long")
    assert tokens.bearer(long) is None
    assert [(one.name, one.revoked_at) for one in tokens.listing()] == [("long", clock.now), ("short", None)]


def test_a_name_is_never_used_again(database: Database) -> None:
    tokens = Tokens(database, Clock())
    tokens.add("anna", "viewer")
    with pytest.raises(StoreError, match="there is, or was, a token 'anna'; take another name"):
        tokens.add("anna", "admin")
    tokens.revoke("anna")
    for name in ("anna", "nobody"):
        with pytest.raises(StoreError, match=f"there is no token {name!r} in force"):
            tokens.revoke(name)
    with pytest.raises(StoreError, match="there is, or was"):
        tokens.add("anna", "admin")
