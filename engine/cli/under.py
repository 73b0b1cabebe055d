"""What a plan keeps under filters, as a table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def under_filters(filters: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Yield the lines of a table: a line for each family, of what a version says of a tuned plan (`UnderFilters`)."""
    if not filters:
        return
    kinds = list(dict.fromkeys(kind for one in filters.values() for kind in one["recall"]))
    named = "".join(f"{kind:>10}" for kind in kinds)
    yield f"{'under a filter':<16}{'match':>9}{named}   µs a query   exact, µs"
    for family, one in filters.items():
        recalls = "".join(f"{one['recall'].get(kind, 1.0):10.3f}" for kind in kinds)
        yield f"{family:<16}{one['matching']:>9.2%}{recalls}{one['microseconds']:13.1f}{one['exact']:12.1f}"
