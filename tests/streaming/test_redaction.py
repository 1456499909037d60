"""What is taken out of lines that are kept for people, and what is left in."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streaming.escapes import all_unescaped, printable, unescaped
from streaming.redaction import LOOKED_AT, RULES, SHOWN, Redaction

KEY = "-----BEGIN RSA PRIVATE KEY-----\nMIIEowIBAAKCAQEA\nx0w==\n-----END RSA PRIVATE KEY-----"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dozjgNryP4J3jVmNHl0w"


@pytest.mark.parametrize(
    ("line", "cleaned"),
    [
        ("Authorization: Bearer abc.def-123456 sent", "Authorization: Bearer <AUTHORIZATION> sent"),
        ("got bearer 0123456789abcdef", "got bearer <AUTHORIZATION>"),
        ('{"authorization": "Basic dXNlcjpwYXNz"}', '{"authorization": "Basic <AUTHORIZATION>"}'),
        ("Set-Cookie: sid=31d4d96e407aad42; Path=/", "Set-Cookie: <AUTHORIZATION>"),
        ("GET /items?api_key=abc123&page=2", "GET /items?api_key=<PASSWORD>&page=2"),
        ("login user=bob password=hunter2, ok", "login user=bob password=<PASSWORD>, ok"),
        ('{"password": "hun ter2", "user": "bob"}', '{"password": <PASSWORD>, "user": "bob"}'),
        ("DB_PASSWORD: x'y; client_secret => 'a b'", "DB_PASSWORD: <PASSWORD>'y; client_secret => <PASSWORD>"),
        ("open postgres://bob:hunter2@db:5432/shop", "open postgres://bob:<URL>@db:5432/shop"),
        ("key AKIAIOSFODNN7EXAMPLE used", "key <AWS_KEY> used"),
        (f"claims of {JWT}.", "claims of <JWT>."),
        (f"cut {JWT[:30]}", "cut <JWT>"),
        (f"read {KEY} from disk", "read <PRIVATE_KEY> from disk"),
        (f"read {KEY[:50]}", "read <PRIVATE_KEY>"),
        ("push with ghp_abcdefghijklmnopqrst0123", "push with <TOKEN>"),
        ("paid by 4111 1111 1111 1111 today", "paid by <CARD> today"),
        ("paid by 5500-0000-0000-0004", "paid by <CARD>"),
    ],
)
def test_secrets_are_taken_out(line: str, cleaned: str) -> None:
    clean = Redaction()
    assert clean(line) == cleaned
    assert clean(cleaned) == cleaned


@pytest.mark.parametrize(
    "line",
    [
        "Receiving block blk_-1608999687919862906 src: /10.250.19.102:54106",
        "paid by 4111 1111 1111 1112: no such card",
        "token expired, ask again",
        "bob@example.com asked https://example.com/a:b for a password",
        "monkey business, passing 3 of 4",
        "sk-7 is short",
    ],
)
def test_what_is_no_secret_stays(line: str) -> None:
    assert Redaction()(line) == line


def test_patterns_are_chosen_by_name() -> None:
    line = "bob@example.com paid by 4111 1111 1111 1111, order cust-17, password=x"
    clean = Redaction({"email": True, "card": False, "customer": r"cust-\d+", "password": r"paid by (?P<secret>\d)"})
    assert clean(line) == "<EMAIL> paid by <PASSWORD>111 1111 1111 1111, order <CUSTOMER>, password=x"


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"cards": True}, "redact.cards = true: a pattern is needed; built in: private_key, url"),
        ({"own": "("}, "is no regular expression"),
        ({"own": "x*"}, "matches the empty string"),
        ({"Own": "x"}, "small letters"),
    ],
)
def test_what_cannot_be_sought_is_refused(choice: dict[str, bool | str], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        Redaction(choice)


def test_a_long_line_is_cut_between_words_and_no_secret_is_halved() -> None:
    clean = Redaction()
    assert len(clean("x" * (1 << 20))) == SHOWN
    key = f"{KEY[:32]}{'A' * 900}"
    assert clean(f"{'x' * 60} {key} {'y ' * LOOKED_AT}") == f"{'x' * 60} <PRIVATE_KEY>"
    hidden = f"{key[:-30]} 4111 1111 1111 1111"
    assert "4111" not in clean(f"{hidden} end")


def test_a_line_is_printable_and_one_line() -> None:
    line = "\x1b[31mred\x1b[0m \x1b]0;title\x07alert\nnext\r\n\x1b[2J\u202eevil\x00 \ud800\x9b5m"
    assert unescaped("\x1b[1;31mred\x1b[0m\x1b") == "red"
    assert Redaction()(line) == "red alert next evil 5m"
    assert printable("as it  is") == "as it  is"
    plain = ["a", "b\tc"]
    assert all_unescaped(plain) is plain
    assert all_unescaped(["\x1b[32mINFO\x1b[0m up", "b"]) == ["INFO up", "b"]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from(["password=", "token: ", "Bearer ", "://", "a:b@", '"', " ", "x1", KEY, JWT, "\x1b["])))
def test_whatever_comes_it_is_bounded_printable_and_stable(parts: list[str]) -> None:
    clean = Redaction(dict.fromkeys(RULES, True))
    once = clean("".join(parts))
    assert len(once) <= SHOWN
    assert once.isprintable()
    assert JWT[10:30] not in once
