"""States of parts within the state of a whole."""

import numpy as np

from streaming.types import State


def test_parts_of_a_state_are_found_in_one_pass() -> None:
    """What a thousand open episodes keep is a thousand parts: looked for one by one, a start took minutes."""
    whole = State({"alone": np.arange(3)}, {"count": 2, "names": ["a"]})
    for name in ("a", "b", "ab"):
        part = State({"x": np.full(2, len(name)), "deep/y": np.zeros(1)}, {"is": name}, {"z": name.encode()})
        whole.put(name, part)
    whole.put("empty", State())
    found = whole.parts()
    assert found.keys() == {"a", "b", "ab", "empty"}
    for name, part in found.items():
        same = whole.part(name)
        assert (part.meta, part.blobs, list(part.arrays)) == (same.meta, same.blobs, list(same.arrays))
        assert all(part.arrays[key] is same.arrays[key] for key in same.arrays)
