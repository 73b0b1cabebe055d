"""What a collection answers with, as a value that can be compared, and whether all of it is right."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from engine.api import Collection
from engine.collection import commit
from engine.collection.history import numbers
from engine.collection.snapshot import Snapshot
from engine.collection.verify import verify
from engine.storage.layout import version_file
from indexers.errors import CorruptCollection
from tests.conftest import live_scores

Key = tuple[str, str]


class State(NamedTuple):
    """What a version answers with.

    Attributes:
        items: stored vector of each live item of each space, as bytes, by space, source and path.
        default: the space that is searched.
        tuned: whether a plan was tuned.
        labels: caption and columns of each live item, by source and path.
    """

    items: dict[tuple[str, str, str], bytes]
    default: str
    tuned: bool
    labels: dict[Key, tuple[str | None, dict[str, Any]]]


def state_of(root: Path, version: int | None = None) -> State | None:
    """Return what a version answers with, the newest if none is named; None if there is no collection."""
    if not commit.exists(root):
        return None
    with Snapshot.open(root, version) as snapshot:
        manifest = snapshot.manifest
        dead = set(snapshot.deleted.tolist())
        names = [
            (source, path)
            for table in snapshot.item_tables(["source", "path"])
            for source, path in zip(table.column("source").to_pylist(), table.column("path").to_pylist(), strict=True)
        ]
        items: dict[tuple[str, str, str], bytes] = {}
        for space in manifest.spaces:
            rows = [row for _, stored in snapshot.stored_vectors(space) for row in stored]
            live = [(name, row) for at, (name, row) in enumerate(zip(names, rows, strict=True)) if at not in dead]
            items |= {(space, *name): row.tobytes() for name, row in live}
            assert len(live) == sum(key[0] == space for key in items), "an item that lives twice"
        known = [snapshot.item(at) for at in range(len(names)) if at not in dead]
        labels = {(item.source, item.path): (item.caption, item.meta) for item in known}
        tuned = any(one.tuning is not None for one in manifest.spaces.values())
        return State(items, manifest.default, tuned, labels)


def history_of(root: Path) -> list[State | None]:
    """Return the states of all versions that are kept."""
    found = []
    for number in numbers(root):
        with contextlib.suppress(CorruptCollection):  # what a repair started from
            found.append(state_of(root, number))
    return found


def assert_sound(root: Path, *, older: bool = True) -> None:
    """Check every file, and that searches find what there is: exactly, and by the default plan.

    Args:
        root: the collection.
        older: whether older versions must be whole too; a repair leaves them with what was damaged.
    """
    if not commit.exists(root):
        return
    problems = [one for one in verify(root) if older or not one.path.startswith("versions/")]
    assert [str(problem) for problem in problems] == []
    with Collection.open(root, device="cpu") as opened:
        if not len(opened):
            return
        xq = np.ascontiguousarray(np.eye(opened.space.dim, dtype=np.float32)[:2])
        truth = live_scores(opened, xq)
        k = min(5, len(opened))
        best = -np.sort(-truth, axis=1)[:, :k]
        for exact in (True, False):
            for row, answers in zip(best, opened.search(xq, k, exact=exact), strict=True):
                assert len(answers.scores) == k
                if exact:
                    np.testing.assert_allclose(answers.scores, row, atol=2e-3)
                else:
                    assert answers.scores[0] <= row[0] + 2e-3
                assert len(answers.uris) == len(set(answers.ids)) == k


def strangers(root: Path) -> set[str]:
    """Return the files in a collection that its newest version does not list."""
    number = commit.current_version(root)
    listed = {ref.path for ref in commit.read_version(root, number).files()} | {version_file(number)}
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()} - listed
