"""Collections whose derived files are in several parts, made with what makes one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from engine.collection.changes import cover
from engine.collection.commit import commit
from engine.collection.manifest import IndexEntry, Manifest, Part
from engine.collection.snapshot import Snapshot
from engine.jobs.build import save_index, save_pruned
from engine.progress import Silent
from engine.storage import layout
from engine.storage.disk import writing
from engine.storage.place import new_file, written
from indexers.base import IndexSpec
from indexers.build import build
from indexers.families.registry import resolve_all
from indexers.store import VectorStore


def add_part(root: Path, specs: Sequence[str] = ("flat@2",), *, space: str = "main", pruned: bool = False) -> Manifest:
    """Cover the shards that nothing covers yet with one more part."""
    with Snapshot.open(root) as snapshot, writing(root):
        manifest, entry = snapshot.manifest, snapshot.manifest.space(space)
        span = range(entry.covered, len(manifest.items))
        stored = np.concatenate([part for _, part in snapshot.stored_vectors(space, first=span.start)])
        with new_file(root, layout.space_folder(space, layout.VECTORS), ".npy") as new:
            with new.temporary.open("wb") as out:
                np.save(out, stored)
            new.rows = len(stored)
        store = VectorStore.open(root / written(new).path)
        resolved = resolve_all([IndexSpec.parse(text) for text in specs], len(store), entry.dim)
        files = [save_index(root, space, build(one, store, device="cpu"), one, len(store)) for one in resolved]
        indexes = [IndexEntry(cover(manifest, file, span), spec) for file, spec in zip(files, resolved, strict=True)]
        exact = cover(manifest, save_pruned(snapshot, space, store, None, Silent()), span) if pruned else None
        part = Part(cover(manifest, written(new), span), tuple(indexes), exact)

        def change(base: Manifest) -> Manifest:
            now = base.space(space)
            return replace(base, spaces={**base.spaces, space: replace(now, more=(*now.more, part))})

        return commit(root, change, operation="build")
