"""Orders of a shop: log lines that belong together by a key, and whatever can become of such a session."""

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import cycle

KEY = r"order (e\d+-\d+)"
"""An order is named after its entity, so that its lines lie with those."""
GAP, MOST_LINES = "2m", 16
SECTION = f"key = '{KEY}'\ngap = '{GAP}'\nmax_lines = {MOST_LINES}\nalert_budget = 5.0"
EVERY = (10, 18)
"""Slots from one order of an entity to the next."""
CALM = ("calm",)
KINDS = (
    "calm", "stuck", "calm", "behind", "elsewhere", "again", "calm", "failed", "calm", "back", "calm", "worse", "calm",
    "flood", "calm", "behind", "calm", "again",
)  # fmt: skip
"""Orders as they come, by turns: what becomes of each is in `_went`."""
_PACE = 25
_LATE = 240
"""Seconds between two lines of an order; and by which a line is late that comes when its session has closed."""


@dataclass(frozen=True, slots=True)
class Said:
    """What `entity` says `second` (event time, s since the traffic began), and how many seconds later it is sent."""

    second: int
    entity: int
    text: str
    late: int = 0

    @property
    def slot(self) -> int:
        """Of a minute."""
        return self.second // 60


def orders(entities: int, first: int, last: int, seed: int, kinds: Sequence[str] = KINDS) -> list[Said]:
    """The lines of all orders that begin in the slots `first` to `last`."""
    rng = random.Random(seed)
    begun = []
    for entity in range(entities):
        slot = first + rng.randrange(EVERY[0])
        while slot < last:
            begun.append((slot, entity))
            slot += rng.randrange(*EVERY)
    turns = zip(sorted(begun), cycle(kinds), strict=False)
    return [line for (slot, entity), kind in turns for line in _went(kind, slot, entity, entities, rng)]


def keys_in(value: bytes) -> list[str]:
    """The order that a message is about, if it is about one."""
    found = re.search(KEY.encode(), value)
    return [found[1].decode()] if found else []


def _went(kind: str, slot: int, entity: int, entities: int, rng: random.Random) -> list[Said]:
    """The lines of one order, which goes its way or as `kind` says."""
    key = f"e{entity}-{slot + 10_000}"
    texts = [f"received order {key} of customer {rng.randrange(900)}"]
    texts += [f"reserved item {rng.randrange(900)} for order {key}" for _ in range(rng.randint(1, 3))]
    texts += [f"charged order {key} with {rng.randrange(900)} cents", f"shipped order {key} from stock"]
    start = 60 * slot + rng.randrange(60)
    said = [Said(start + _PACE * place, entity, text) for place, text in enumerate(texts)]
    end, charged = said[-1], said[-2].text
    failed = replace(end, text=f"ERROR payment of order {key} failed with code {rng.randrange(9)}")
    after = replace(failed, second=end.second + _PACE, late=_LATE)
    ways = {
        "stuck": said[:-1],
        "behind": [*said[:-1], replace(end, late=_LATE)],  # an alert that has to be taken back
        "failed": [*said[:-1], failed],
        "worse": [*said[:-1], failed, after],  # an alert that changes
        "back": [*said[:-1], replace(end, late=_LATE), replace(after, late=_LATE + 60)],  # taken back, opened again
        "again": [*said, *_repeated(end, charged, 12, _PACE)],  # hopeless long before it closes
        "flood": [*said, *_repeated(end, charged, 2 * MOST_LINES, 1)],  # several sessions that begin in one slot
        "elsewhere": [*said, Said(end.second, (entity + 1) % entities, texts[1])],  # perhaps on another partition
    }
    return ways.get(kind, said)


def _repeated(end: Said, text: str, times: int, pace: int) -> list[Said]:
    return [Said(end.second + pace * place, end.entity, text) for place in range(1, times + 1)]
