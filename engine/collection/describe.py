"""What `info` tells: counts, sizes and plans, read from the version file alone."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from engine.collection.absent import is_away
from engine.collection.manifest import Covering, Manifest, Source, Space, json_of
from engine.collection.plans import Tuning
from engine.collection.shards import FAILURE_SCHEMA, read_table
from engine.collection.snapshot import Snapshot
from engine.encoders.headed import MARK
from indexers.base import AXES

GROWN = 1.5
SHIFTED = 0.01


def describe(root: Path) -> dict[str, Any]:
    """Describe the newest version of a collection, as JSON values.

    Raises:
        NotACollection: there is none at `root`.
    """
    with Snapshot.open(root) as snapshot:
        manifest = snapshot.manifest
        return {
            "path": str(root),
            "version": manifest.version,
            "created": manifest.created,
            "operation": manifest.operation,
            "writer": manifest.writer,
            "items": manifest.rows - manifest.dead_rows,
            "deleted": manifest.dead_rows,
            "failures": manifest.failures.rows if manifest.failures else 0,
            "shards": len(manifest.items),
            "sources": [_source(one) for one in manifest.sources],
            "metadata": manifest.metadata,
            "default": manifest.default,
            "words": {"columns": list(manifest.words.columns), "stem": manifest.words.stem, **_worded(manifest)},
            "spaces": {name: _space(manifest, space) for name, space in manifest.spaces.items()},
            "bytes": sum(ref.size for ref in manifest.files()),
        }


def _worded(manifest: Manifest) -> dict[str, Any]:
    """Return how many items are new to the words that are built, and how large those are."""
    covering = manifest.words.covering
    unindexed = manifest.rows - (manifest.rows_in(covering.span) if covering else 0)
    return {"unindexed": unindexed, **(_sizes([covering]) or {"bytes": 0, "bytes_per_item": 0.0})}


def _source(source: Source) -> dict[str, Any]:
    tables = [asdict(table) for table in source.tables]
    return {**asdict(source), "tables": tables, "patterns": list(source.patterns), "away": is_away(source)}


def _space(manifest: Manifest, space: Space) -> dict[str, Any]:
    entries = [entry for part in space.listed for entry in part.indexes]
    return {
        "encoder": space.encoder,
        "base": space.base,
        "objective": _objective(space),
        "fingerprint": space.fingerprint.to_json(),
        "dim": space.dim,
        "dtype": space.dtype,
        "untrained_prefixes": _cuts_untrained(space),
        "vectors": _sizes([part.vectors for part in space.listed]),
        "indexes": [{"spec": str(entry.spec), **(_sizes([entry.covering]) or {})} for entry in entries],
        "pruned": _sizes([part.pruned for part in space.listed]),
        "unindexed": manifest.rows - manifest.rows_in(range(space.covered)),
        "plans": json_of(space.plans),
        "cutoff": json_of(space.cutoff),
        "tuning": None if space.tuning is None else {**json_of(space.tuning), "advice": advice(manifest, space.tuning)},
    }


def _cuts_untrained(space: Space) -> bool:
    """Whether prefixes that nobody trained are searched by; those of principal axes are no such prefixes."""
    if space.fingerprint.trained_dims:
        return False
    specs = [entry.spec for part in space.listed for entry in part.indexes]
    return not specs or any(spec.dim < space.dim and AXES not in dict(spec.params) for spec in specs)


def advice(manifest: Manifest, tuning: Tuning) -> str | None:
    """Say why a space should be tuned again, or None."""
    live = manifest.rows - manifest.dead_rows
    if live > GROWN * tuning.rows:
        return f"it was tuned on {tuning.rows:,} items, and there are {live:,} now"
    if live * GROWN < tuning.rows:
        return f"it was tuned on {tuning.rows:,} items, and {live:,} are left"
    if tuning.now is not None and (lost := min(tuning.now.values())) < tuning.target - SHIFTED:
        return f"its plan finds {lost:.3f} of what there is now, {tuning.target:g} was asked for"
    return None


def _objective(space: Space) -> str | None:
    """Return what the head of a derived space was trained for; None where there is no head."""
    return None if space.head is None else space.fingerprint.model.rpartition(MARK)[2]


def _sizes(coverings: list[Covering | None]) -> dict[str, Any] | None:
    """Return how large the files of all parts are together; None where there are none."""
    files = [one.file for one in coverings if one is not None]
    size, rows = sum(ref.size for ref in files), sum(ref.rows for ref in files)
    return {"bytes": size, "bytes_per_item": round(size / max(rows, 1), 1)} if files else None


def list_failures(root: Path) -> list[dict[str, str]]:
    """Return what could not be indexed: source, path and reason of each; paths as the file system knows them."""
    with Snapshot.open(root) as snapshot:
        if snapshot.manifest.failures is None:
            return []
        snapshot.ensure([snapshot.manifest.failures])
        told = read_table(root, snapshot.manifest.failures, FAILURE_SCHEMA.names)
        return [{**row, "path": snapshot.name_in(row["source"], row["path"])} for row in told.to_pylist()]
