"""What was packed is unpacked within bounds, whatever it says and however it was cut."""

import gzip

import cramjam
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streaming.json_records import RecordError
from streaming.unpacking import MEMBERS, check_snappy, gunzipped

MOST = 500


@settings(max_examples=60, deadline=None)
@given(members=st.lists(st.binary(max_size=300), max_size=4), cut=st.integers(0, 2000), junk=st.binary(max_size=20))
def test_gzip_gives_all_of_it_or_says_why_not(members: list[bytes], cut: int, junk: bytes) -> None:
    packed = b"".join(map(gzip.compress, members))
    whole = b"".join(members)
    if len(whole) <= MOST:
        assert gunzipped(packed, MOST) == whole
    else:
        with pytest.raises(RecordError, match=f"more than {MOST} bytes unpacked, {MOST} are allowed"):
            gunzipped(packed, MOST)
    try:
        assert len(gunzipped(packed[:cut] + junk, MOST)) <= MOST
    except RecordError as error:
        assert error.reason in ("too_long", "broken_message")


@settings(max_examples=100, deadline=None)
@given(payload=st.binary(max_size=100))
def test_any_bytes_are_gzip_or_a_fault_of_the_record(payload: bytes) -> None:
    for bytes_ in (payload, b"\x1f\x8b\x08" + payload):
        try:
            assert len(gunzipped(bytes_, MOST)) <= MOST
        except RecordError as error:
            assert error.reason in ("too_long", "broken_message")


def test_members_are_counted() -> None:
    assert gunzipped(gzip.compress(b"a") * MEMBERS, MOST) == b"a" * MEMBERS
    with pytest.raises(RecordError, match=f"more than {MEMBERS} gzip members"):
        gunzipped(gzip.compress(b"a") * (MEMBERS + 1), MOST)


@pytest.mark.parametrize("times", [1, 1000, 100_000])
def test_a_bomb_costs_its_bound(times: int) -> None:
    packed = gzip.compress(bytes(100 * times))
    if 100 * times <= MOST:
        assert gunzipped(packed, MOST) == bytes(100 * times)
        return
    with pytest.raises(RecordError) as found:
        gunzipped(packed, MOST)
    assert found.value.reason == "too_long"


@settings(max_examples=60, deadline=None)
@given(part=st.binary(max_size=60), times=st.integers(1, 2000))
def test_a_true_snappy_block_passes_within_the_bound(part: bytes, times: int) -> None:
    whole = part * times
    packed = bytes(cramjam.snappy.compress_raw(whole))
    if len(whole) <= 50_000:
        check_snappy(packed, 50_000)
    else:
        with pytest.raises(RecordError, match=f"{len(whole)} bytes unpacked, 50000 are allowed"):
            check_snappy(packed, 50_000)


@settings(max_examples=100, deadline=None)
@given(payload=st.binary(max_size=40))
def test_what_passes_makes_no_more_room_than_its_bytes_can_fill(payload: bytes) -> None:
    try:
        check_snappy(payload, MOST)
    except RecordError as error:
        assert error.reason in ("too_long", "broken_message")
    else:
        assert cramjam.snappy.decompress_raw_len(payload) <= min(MOST, 22 * len(payload))


@pytest.mark.parametrize(
    ("payload", "reason", "said"),
    [
        (b"\xff" * 12, "broken_message", "a snappy block is expected"),
        (b"\xe8\x07a", "too_long", "1000 bytes unpacked, 500 are allowed"),
        (b"\xe4\x01a", "broken_message", "3 bytes cannot hold 228"),
    ],
)
def test_what_a_snappy_block_may_not_say(payload: bytes, reason: str, said: str) -> None:
    with pytest.raises(RecordError) as found:
        check_snappy(payload, MOST)
    assert found.value.reason == reason
    assert said in found.value.detail
