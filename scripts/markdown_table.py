"""Tables of the pages that scripts write."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence


def table(header: Sequence[str], rows: Iterable[Sequence[str]], left: Container[int] = (0,)) -> list[str]:
    """Return the lines of a Markdown table and an empty one, all columns but those of `left` to the right."""
    sides = ("---|" if number in left else "---:|" for number in range(len(header)))
    return [f"| {' | '.join(header)} |", f"|{''.join(sides)}", *(f"| {' | '.join(row)} |" for row in rows), ""]
