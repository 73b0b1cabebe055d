"""The first look: how much there is to do, and what is gone and what only cannot be seen."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.api import Collection
from engine.collection.manifest import Source
from engine.collection.snapshot import Snapshot
from engine.ingest.arrays import ArrayListing
from engine.ingest.catalogue import Catalogue
from engine.ingest.compare import Comparison, compare
from engine.ingest.entries import Entry
from tests.helpers import clustered

PATHS = ["a.png", "sub/b.png", "sub/deep/c.png", "subway.png"]


class Listed:
    """A folder as it looks today."""

    whole, ignored, below = True, 0, ""

    def __init__(self, *entries: Entry) -> None:
        self.left: list[str] = []
        self.source = Source("photos", "folder", "/photos")
        self._entries = entries

    def entries(self) -> Iterator[Entry]:
        yield from self._entries


def seen(path: str) -> Entry:
    return Entry("photos", path)


def unread(path: str) -> Entry:
    return Entry("photos", path, problem="folder cannot be read: Input/output error", unread=True)


@pytest.fixture
def snapshot(tmp_path: Path) -> Iterator[Snapshot]:
    """Four items of a source, and one of another."""
    with Collection.create(tmp_path / "c.nest", encoder="precomputed", dim=4) as opened:
        opened.add_vectors(clustered(4, 4), names=PATHS, source="photos")
        opened.add_vectors(clustered(1, 4, 1), names=["sub/b.png"], source="other")
        yield opened.snapshot


def compared(snapshot: Snapshot, *listings: Listed) -> Comparison:
    return compare(listings, Catalogue(snapshot), snapshot, notice_gone=True)


def gone(snapshot: Snapshot, *entries: Entry) -> list[str]:
    return [snapshot.item(row).path for row in compared(snapshot, Listed(*entries)).gone.get("photos", [])]


def test_what_is_not_listed_is_gone(snapshot: Snapshot) -> None:
    assert gone(snapshot, *map(seen, PATHS)) == []
    assert gone(snapshot, seen("a.png")) == PATHS[1:]
    assert gone(snapshot) == PATHS


def test_what_lies_below_a_folder_that_cannot_be_listed_is_not_gone(snapshot: Snapshot) -> None:
    """A share that fails for a moment must not cost what was encoded."""
    assert gone(snapshot, seen("a.png"), unread("sub")) == ["subway.png"]
    assert gone(snapshot, unread("sub/deep")) == ["a.png", "sub/b.png", "subway.png"]
    assert gone(snapshot, unread(".")) == []


def test_what_a_partial_listing_leaves_out_is_not_gone(snapshot: Snapshot) -> None:
    part = Listed(seen("a.png"))
    part.whole = False
    assert compared(snapshot, part).gone == {}
    # Two listings of one source are looked at together.
    both = compared(snapshot, Listed(seen("a.png")), part)
    assert [snapshot.item(row).path for row in both.gone["photos"]] == PATHS[1:]


def test_what_there_is_to_do(snapshot: Snapshot) -> None:
    found = compared(snapshot, Listed(seen("a.png"), seen("new.png"), seen("new.png"), unread("sub")))
    assert (found.total, found.todo, found.new) == (4, 4 - 1, 2)
    assert found.repeated == [seen("new.png").key]


def test_vectors_of_an_array_have_no_time_and_are_always_looked_at(snapshot: Snapshot) -> None:
    rows = ArrayListing("photos", clustered(5, 4), [*PATHS, "new"], None, None, dims={"main": 4})
    found = compare([rows], Catalogue(snapshot), snapshot, notice_gone=True)
    assert (found.total, found.todo, found.new, found.gone) == (5, 5, 1, {})


def test_nothing_at_all(snapshot: Snapshot) -> None:
    assert compared(snapshot) == Comparison()
