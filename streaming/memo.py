"""What Drain answers to lines seen before, for as long as it would answer the same."""

from typing import Any

from streaming.templates import WILDCARD


class Memo:
    """Key of a line -> template id, by the leaf of Drain's prefix tree in which the line is sought.

    An entry is made when Drain joined a line to a template and changed nothing, so a repetition gives the same answer
    until that leaf changes (a template of it is founded, generalised or forgotten) or the line's path leads to another
    leaf; then `drop` or `forget` is called. At most `capacity` bytes of keys are held: beyond, all go.
    """

    def __init__(self, capacity: int) -> None:
        self.ids: dict[bytes | str, int] = {}
        self._capacity = capacity
        self._held = 0
        self._by_leaf: dict[Any, list[bytes | str]] = {}
        self._leaves: dict[int, Any] = {}

    def put(self, key: bytes | str, leaf: Any, template: int) -> None:
        """Remember an answer."""
        if self._held >= self._capacity:
            self.clear()
        self._held += len(key)
        self.ids[key] = template
        self._by_leaf.setdefault(leaf, []).append(key)
        self._leaves[template] = leaf

    def drop(self, leaf: Any) -> None:
        """Forget what was sought in `leaf` and everywhere below."""
        for key in self._by_leaf.pop(leaf, ()):
            del self.ids[key]
            self._held -= len(key)
        for child in leaf.key_to_child_node.values():
            self.drop(child)

    def forget(self, template: int) -> None:
        """Forget the answers of the leaf that holds a template, which is gone."""
        leaf = self._leaves.pop(template, None)
        if leaf is not None:
            self.drop(leaf)

    def clear(self) -> None:
        """Forget everything."""
        self.ids.clear()
        self._by_leaf.clear()
        self._leaves.clear()
        self._held = 0


def sought(root: Any, tokens: list[str], depth: int) -> tuple[Any | None, Any | None]:
    """Where Drain seeks a line: (leaf, or None where there is none; the first wildcard node on the way, or None).

    `depth` is that of the prefix tree (Drain's `max_node_depth`). A template founded by this line may give its tokens
    branches of their own, for which a wildcard stood in until then: all lines below that wildcard may move.
    """
    node, stand_in = root.key_to_child_node.get(str(len(tokens))), None
    for token in tokens[: min(depth, len(tokens)) - 1] if node is not None and tokens else ():
        child = node.key_to_child_node.get(token)
        if child is None:
            child = node.key_to_child_node.get(WILDCARD)
            stand_in = stand_in or child
        node = child
        if node is None:
            break
    return node, stand_in
