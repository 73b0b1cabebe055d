"""When indexes are built anew: the rule."""

from __future__ import annotations

from collections.abc import Sequence

from engine.collection.manifest import Manifest
from indexers.base import IndexSpec
from indexers.families.registry import resolve_all

# Rows beyond the indexes are scanned exactly. Up to here that costs less than it would to
# rebuild; past it, the next run folds them in.
TAIL_ROWS = 4096
TAIL_SHARE = 0.05


def tail_rows(manifest: Manifest, space: str) -> int:
    """Return how many rows no index covers yet."""
    return manifest.rows - manifest.rows_in(range(manifest.space(space).covered))


def is_due(manifest: Manifest, space: str, specs: Sequence[IndexSpec] | None) -> bool:
    """Whether indexes should be built: something derived is not there, others are wanted, or too much is uncovered."""
    if not manifest.rows:
        return False
    entry = manifest.space(space)
    parts = entry.parts
    indexed = [bool(part.indexes) for part in parts]
    # Where an exact scan is the plan there need not be an index, in any part.
    if not parts or manifest.lookup is None or not (all(indexed) or (entry.plans and not any(indexed))):
        return True
    for part in parts if specs is not None else ():
        wanted = resolve_all(specs or (), manifest.rows_in(part.vectors.span), entry.dim)
        if wanted != [one.spec for one in part.indexes]:
            return True
    return tail_rows(manifest, space) > max(TAIL_ROWS, TAIL_SHARE * manifest.rows)
