"""JSON as it is stored."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from storage.documents import Document, dump_json

values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=4), values, max_size=4))
def test_a_document_has_the_text_of_the_dictionary_that_it_is(plain: dict[str, Any]) -> None:
    document = Document(plain)
    for _ in range(2):
        assert dump_json(document) == document.text == dump_json(plain)
    assert dump_json([1, {"inside": document}]) == dump_json([1, {"inside": plain}])
    assert dump_json(Document({"inside": document})) == dump_json({"inside": plain})
    assert json.loads(document.text).keys() == document.keys()


def test_its_text_is_made_once() -> None:
    document = Document({"a": 1.0})
    assert document.text is dump_json(document) and document == {"a": 1.0}
    assert dump_json(Document(document | {"b": 2})) == '{"a":1.0,"b":2}'
