"""`by_name`: what is known of the windows' entities by name, however many entities a stream has."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from detectors.blocks import by_name

names = st.lists(st.text("abc", max_size=2), min_size=1, max_size=9)


@given(names, st.lists(st.integers(0, 8), max_size=20), st.dictionaries(st.text("abc", max_size=2), st.integers(0, 5)))
def test_each_window_gets_what_is_known_of_its_entity(
    stream: list[str], windows: list[int], known: dict[str, int]
) -> None:
    entities = np.array([entity % len(stream) for entity in windows], np.int32)
    asked: list[str] = []

    def find(name: str) -> int:
        asked.append(name)
        return known.get(name, -1)

    found = by_name(find, entities, stream)
    assert found.tolist() == [known.get(stream[entity], -1) for entity in entities] and found.dtype == np.int64
    assert len(asked) == min(len(stream), len(entities))
