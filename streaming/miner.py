"""Log templates: Drain (He et al., ICWS 2017; drain3's tree) behind a small seam with bounded memory and plain state.

Drain groups lines by their number of tokens and their first tokens, and a line joins the group's most similar template
(or founds one); places where lines of a template differ become `<*>`.
"""

from collections import Counter, OrderedDict
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from drain3.drain import Drain, LogCluster, Node
from numpy.typing import NDArray

from streaming.masking import Masking
from streaming.memo import Memo, sought
from streaming.templates import template_id
from streaming.types import Codes, State

MAX_CHARACTERS = 8_192
MAX_TOKENS = 128
"""A message is mined by its first characters and tokens: the prefix tree has a branch for each number of tokens."""
READ, SHORT = 16_384, 512
"""Masked texts that are remembered for people at most, and characters of what is masked so."""
MEMO_BYTES = 16 << 20
"""Text of line shapes that is remembered at most; beyond, all are forgotten and the living ones come back."""


class _Clusters(OrderedDict[int, Any]):
    """Drain's table of templates by id, least recently used first; pinned ones are passed over when one must go.

    Drain reads with `[]` to touch a template and with `get` to look without touching.
    """

    def __init__(self, capacity: int) -> None:
        super().__init__()
        self.capacity = capacity
        self.pinned: OrderedDict[int, None] = OrderedDict()
        self.gone: list[Any] = []
        self.evictions = 0

    def __getitem__(self, key: int) -> Any:
        self.move_to_end(key)
        return super().__getitem__(key)

    def __setitem__(self, key: int, cluster: Any) -> None:
        while len(self) >= self.capacity and key not in self:
            self._evict()
        super().__setitem__(key, cluster)

    def _evict(self) -> None:
        oldest = next(key for key in self if key not in self.pinned)
        self.gone.append(self.pop(oldest))
        self.evictions += 1


class _Drain(Drain):  # type: ignore[misc]  # drain3 is untyped
    """Drain in which one token of a line may always differ: short lines would each found a template otherwise.

    `former` is how the template that a line joined last read before.
    """

    former: Sequence[str] = ()

    def fast_match(self, cluster_ids: Sequence[int], tokens: list[str], sim_th: float, include_params: bool) -> Any:
        """The most similar template of a leaf, if it is similar enough."""
        length = max(len(tokens), 2)
        enough = min(sim_th, (length - 1) / length)
        return super().fast_match(cluster_ids, tokens, enough, include_params)

    def create_template(self, seq1: Sequence[str], seq2: Sequence[str]) -> Any:
        """What two lines of a template have in common; `seq2` is the template."""
        self.former = seq2
        return super().create_template(seq1, seq2)


class Miner:
    """Turns messages into template ids, in order, with at most `max_templates` templates held.

    Ids are positive, belong to this miner, and are never used twice. What a call answers does not depend on how the
    messages were divided into calls. Exactly Drain with `similarity` and `depth` on the first `MAX_TOKENS` tokens of
    the masked message; a memo of line shapes in front of it answers only where Drain would answer the same and change
    nothing but the count (`streaming.memo`). `similarity` is higher than Drain's usual 0.4, since a masked token counts
    as equal, where an unmasked number would be a difference; one token may differ whatever it says.
    """

    def __init__(
        self, masks: Masking | None = None, similarity: float = 0.75, depth: int = 5, max_templates: int = 2_000
    ) -> None:
        if not 0 < similarity <= 1:
            raise ValueError(f"similarity must lie in (0, 1], got {similarity}")
        if max_templates < 2:
            raise ValueError(f"max_templates must be at least 2, got {max_templates}")
        self._masks = masks or Masking()
        self._drain = _Drain(depth=depth, sim_th=similarity, profiler=None)
        self._clusters = _Clusters(max_templates)
        self._drain.id_to_cluster = self._clusters
        self._memo = Memo(MEMO_BYTES)
        self._given: dict[str, int] = {}
        self._former: dict[int, list[str]] = {}
        self._texts: dict[bytes | str, str] = {}

    @property
    def capacity(self) -> int:
        """Templates that are held at most."""
        return self._clusters.capacity

    @property
    def evictions(self) -> int:
        """Templates forgotten so far because newer ones needed their place."""
        return self._clusters.evictions

    def keys(self, messages: Sequence[str], shaped: Sequence[bytes] | None = None) -> Sequence[bytes | str]:
        """What decides how each of N messages is mined; `shaped`: their shapes (of the first `MAX_CHARACTERS`)."""
        if shaped is not None and self._masks.by_shape:
            return shaped
        return self._masks.keys([message[:MAX_CHARACTERS] for message in messages])

    def learn(self, messages: Sequence[str], templates: Sequence[str | None] = ()) -> tuple[Codes, NDArray[np.bool_]]:
        """Template id of each of N messages (N, int32), and whether the line founded it (N): learns line by line.

        A line that came with its template (`templates`, N or none) is not mined: equal texts are one template.
        """
        return self.learn_keys(self.keys(messages), templates)

    def learn_keys(
        self, keys: Sequence[bytes | str], templates: Sequence[str | None] = ()
    ) -> tuple[Codes, NDArray[np.bool_]]:
        """`learn` of messages that have these `keys`."""
        ids, new, known = list[int](), np.zeros(len(keys), np.bool_), self._memo.ids.get
        start = 0
        for place, key in enumerate(keys):
            template = templates[place] if templates else None
            if template or (found := known(key)) is None:
                self._touch(ids[start:])
                found, new[place] = self._take(template) if template else self._add(key)
                start = place + 1
            ids.append(found)
        self._touch(ids[start:])
        return np.array(ids, np.int32), new

    def match(self, messages: Sequence[str], templates: Sequence[str | None] = ()) -> Codes:
        """The id that `learn` would give each of N messages now (N, int32; -1 = it would found a template).

        Nothing is learnt, counted or touched: for lines that come late.
        """
        return self.match_keys(self.keys(messages), templates)

    def match_keys(self, keys: Sequence[bytes | str], templates: Sequence[str | None] = ()) -> Codes:
        """`match` of messages that have these `keys`."""
        given = templates or [None] * len(keys)
        ids = [self._held(template) if template else self._find(key) for key, template in zip(keys, given, strict=True)]
        return np.array(ids, np.int32)

    def holds(self, template: int) -> bool:
        """Whether a template is held (still)."""
        return template in self._clusters

    def templates(self) -> list[tuple[int, str, int]]:
        """(id, text, lines) of the templates held, by id; `<*>` marks a varying token."""
        return [(key, cluster.get_template(), cluster.size) for key, cluster in sorted(self._clusters.items())]

    def aliases(self) -> list[tuple[str, int]]:
        """(public id of a former text, template id) of the templates held whose text has changed."""
        return [(alias, key) for key, former in sorted(self._former.items()) for alias in former]

    def texts(self, ids: Iterable[int]) -> list[str | None]:
        """The current text of each template; None for one that is not held (any more)."""
        clusters = (self._clusters.get(int(key)) for key in ids)
        return [None if cluster is None else cluster.get_template() for cluster in clusters]

    def adopt(self, texts: Sequence[str]) -> Codes:
        """Ids (int32) of templates known by text: of the oldest one that reads so, else of a new one with no lines.

        Adopted templates are never forgotten; at most half of `max_templates` enjoy that, the longest adopted lose it
        first. ValueError for more than so many texts.
        """
        if len(texts) > self._clusters.capacity // 2:
            raise ValueError(
                f"{len(texts)} templates to adopt, at most half of max_templates={self._clusters.capacity}"
            )
        held = {cluster.log_template_tokens: key for key, cluster in sorted(self._clusters.items(), reverse=True)}
        wanted = [tuple(text.split()) for text in texts]
        self._pin(held[tokens] for tokens in wanted if tokens in held)
        for tokens in wanted:
            if tokens not in held:
                held[tokens] = self._create(list(tokens))
                self._pin([held[tokens]])
        return np.array([held[tokens] for tokens in wanted], np.int32)

    def _pin(self, ids: Iterable[int]) -> None:
        # at most half of the places, so that the miner can always go on learning
        pinned = self._clusters.pinned
        for key in map(int, ids):
            pinned[key] = None
            pinned.move_to_end(key)
        while len(pinned) > self._clusters.capacity // 2:
            pinned.popitem(last=False)

    def state(self) -> State:
        """Templates in order of use, prefix tree, pins and counters, as JSON."""
        clusters = [[key, cluster.size, cluster.get_template()] for key, cluster in self._clusters.items()]
        meta = {
            "clusters": clusters,
            "counter": self._drain.clusters_counter,
            "tree": _node_to_json(self._drain.root_node),
            "pinned": list(self._clusters.pinned),
            "evictions": self._clusters.evictions,
            "given": list(self._given.items()),
            "former": list(self._former.items()),
        }
        return State(meta=meta)

    def restore(self, state: State) -> None:
        """Go on from what `state` gave; ValueError when it holds more templates than this miner may."""
        meta = state.meta
        capacity = self._clusters.capacity
        if len(meta["clusters"]) > capacity:
            raise ValueError(f"the state holds {len(meta['clusters'])} templates, max_templates is {capacity}")
        clusters = _Clusters(capacity)
        for key, size, text in meta["clusters"]:
            cluster = LogCluster(text.split(), key)
            cluster.size = size
            clusters[key] = cluster
        clusters.pinned = OrderedDict.fromkeys(meta["pinned"])
        clusters.evictions = meta["evictions"]
        self._clusters = self._drain.id_to_cluster = clusters
        self._drain.clusters_counter = meta["counter"]
        self._drain.root_node = _node_from_json(meta["tree"])
        self._memo = Memo(MEMO_BYTES)
        self._given = dict(meta["given"])
        self._former = dict(meta["former"])

    def masked(self, message: str) -> str:
        """What is mined of a message: its first tokens, with masks in place of what varies."""
        return self.read(self.keys([message])[0])

    def read(self, key: bytes | str) -> str:
        """What is mined of the messages of a key; short texts are remembered."""
        text = self._texts.get(key)
        if text is None:
            text = " ".join(self._tokens(key))
            if len(self._texts) >= READ:
                self._texts.clear()
            if len(key) <= SHORT:
                self._texts[key] = text
        return text

    def _tokens(self, key: bytes | str) -> list[str]:
        return self._masks.read(key).split()[:MAX_TOKENS]

    def _touch(self, ids: Sequence[int]) -> None:
        """Count known lines, and note in which order their templates were last used."""
        counts = Counter(ids)
        for key in reversed(dict.fromkeys(reversed(ids))):
            self._clusters[key].size += counts[key]

    def _find(self, key: bytes | str) -> int:
        known = self._memo.ids.get(key)
        if known is not None:
            return known
        cluster = self._drain.tree_search(self._drain.root_node, self._tokens(key), self._drain.sim_th, False)
        return -1 if cluster is None else int(cluster.cluster_id)

    def _take(self, template: str) -> tuple[int, bool]:
        """The id of a template that a line came with, and whether it is new."""
        found = self._held(template)
        if found >= 0:
            self._clusters[found].size += 1
            self._given[template] = found
            return found, False
        self._given = {text: key for text, key in self._given.items() if key in self._clusters}
        tokens = self._given_tokens(template)
        self._drain.clusters_counter += 1
        cluster = LogCluster(tokens, self._drain.clusters_counter)
        # it has no place in Drain's tree: no mined line may join it and change its text
        self._clusters[cluster.cluster_id] = cluster
        self._changed(None)
        self._given[template] = int(cluster.cluster_id)
        return int(cluster.cluster_id), True

    def _held(self, template: str) -> int:
        """The id of a template that came before with a line, or with a model; else -1."""
        key = self._given.get(template, -1)
        if key in self._clusters:
            return key
        tokens = tuple(self._given_tokens(template))
        return next((k for k in self._clusters.pinned if self._tokens_of(k) == tokens), -1)

    def _tokens_of(self, key: int) -> tuple[str, ...] | None:
        cluster = self._clusters.get(key)
        return None if cluster is None else tuple(cluster.log_template_tokens)

    def _given_tokens(self, template: str) -> list[str]:
        return template[:MAX_CHARACTERS].split()[:MAX_TOKENS]

    def _add(self, key: bytes | str) -> tuple[int, bool]:
        """The template of a line whose shape the memo does not know, and whether the line founded it."""
        tokens = self._tokens(key)
        text, (leaf, stand_in) = " ".join(tokens), self._sought(tokens)
        known = self._memo.ids.get(text)
        if known is not None:
            self._touch([known])
            self._memo.put(key, leaf, known)
            return known, False
        cluster, change = self._drain.add_log_message(text)
        if change == "none":
            for same in {key, text}:
                self._memo.put(same, leaf, cluster.cluster_id)
        elif change == "cluster_created":
            self._changed(stand_in or leaf)
        else:
            former = template_id(" ".join(self._drain.former))
            self._former.setdefault(int(cluster.cluster_id), []).append(former)
            self._changed(leaf)
        return int(cluster.cluster_id), bool(change == "cluster_created")

    def _create(self, tokens: list[str]) -> int:
        self._drain.clusters_counter += 1
        cluster = LogCluster(tokens, self._drain.clusters_counter)
        cluster.size = 0
        leaf, stand_in = self._sought(tokens)
        self._clusters[cluster.cluster_id] = cluster
        self._drain.add_seq_to_prefix_tree(self._drain.root_node, cluster)
        self._changed(stand_in or leaf)
        return int(cluster.cluster_id)

    def _sought(self, tokens: list[str]) -> tuple[Any | None, Any | None]:
        return sought(self._drain.root_node, tokens, self._drain.max_node_depth)

    def _changed(self, node: Any | None) -> None:
        """The memo forgets what was sought below `node`, and what templates that are gone have answered."""
        if node is not None:
            self._memo.drop(node)
        for cluster in self._clusters.gone:
            self._memo.forget(cluster.cluster_id)
            self._former.pop(cluster.cluster_id, None)
        if self._clusters.gone and self._clusters.evictions % self._clusters.capacity == 0:
            _prune(self._drain.root_node, self._clusters)
        self._clusters.gone.clear()


def _prune(node: Any, clusters: _Clusters, depth: int = 0) -> None:
    # Drain skips ids of forgotten templates but keeps them; an empty line's branch needs its one id (it reads `[0]`).
    for key, child in node.key_to_child_node.items():
        if depth > 0 or key != "0":
            child.cluster_ids = [held for held in child.cluster_ids if held in clusters]
            _prune(child, clusters, depth + 1)


def _node_to_json(node: Any) -> list[Any]:
    return [node.cluster_ids, {key: _node_to_json(child) for key, child in node.key_to_child_node.items()}]


def _node_from_json(data: list[Any]) -> Any:
    node = Node()
    node.cluster_ids = list(data[0])
    node.key_to_child_node = {key: _node_from_json(child) for key, child in data[1].items()}
    return node
