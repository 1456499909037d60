"""The log templates of a stream for people: those of all partitions, put together, with their names."""

from collections.abc import Mapping, Sequence
from typing import Any

from streaming.templates import grouped, template_id

Row = dict[str, Any]


def template_rows(listed: Sequence[Row], former: Sequence[Row], names: Mapping[str, str]) -> list[Row]:
    """id, name, lines, partitions, text, aliases of each group of templates, most lines first.

    `listed`: partition, template_id, text, count. `former`: partition, template_id, alias. `aliases` are the ids of the
    texts of its members and of those that they had before: whatever one of them was named, the group is called.
    """
    group_of = grouped(row["text"] for row in listed)
    before: dict[tuple[int, int], list[str]] = {}
    for row in former:
        before.setdefault((row["partition"], row["template_id"]), []).append(row["alias"])
    groups: dict[str, Row] = {}
    for row in listed:
        text = group_of[row["text"]]
        group = groups.setdefault(text, {"lines": 0, "partitions": set(), "known": set()})
        group["lines"] += row["count"]
        group["partitions"].add(row["partition"])
        group["known"] |= {template_id(row["text"]), *before.get((row["partition"], row["template_id"]), ())}
    rows = [_row(text, group, names) for text, group in groups.items()]
    return sorted(rows, key=lambda row: (-row["lines"], row["text"]))


def _row(text: str, group: Row, names: Mapping[str, str]) -> Row:
    own = template_id(text)
    aliases = sorted(group["known"] - {own})
    name = next((names[known] for known in (own, *aliases) if known in names), "")
    return {
        "id": own, "name": name, "lines": group["lines"], "partitions": sorted(group["partitions"]), "text": text,
        "aliases": aliases,
    }  # fmt: skip


def matching(rows: Sequence[Row], search: str) -> list[Row]:
    """The rows whose text or name holds `search`, in any case, or whose id or alias begins with it."""
    wanted = search.casefold()
    return [
        row
        for row in rows
        if wanted in row["text"].casefold()
        or wanted in row["name"].casefold()
        or any(known.startswith(wanted) for known in (row["id"], *row["aliases"]))
    ]


def the_one(rows: Sequence[Row], wanted: str) -> Row:
    """The row whose id or alias begins with `wanted`; ValueError where there is none, or more than one."""
    found = [row for row in rows if any(known.startswith(wanted) for known in (row["id"], *row["aliases"]))]
    if len(found) != 1:
        told = ", ".join(row["id"] for row in (found or rows)[:5]) or "none"
        raise ValueError(f"template {wanted!r}: {len(found)} of {len(rows)} begin so; there is: {told}")
    return found[0]
