"""Versions whose hashes are right and whose numbers lie: rows, sizes, lengths and places are not those of the files.

Whatever reads them comes to an answer or a named error, without setting memory aside for what is not there.
"""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from blake3 import blake3

from engine.api import Collection
from engine.collection.changes import append
from engine.collection.commit import current_version
from engine.collection.failures import Failure, record_failures
from engine.collection.history import diff
from engine.collection.manifest import Manifest, Source
from engine.collection.tombstones import tombstones_of
from engine.collection.verify import verify
from engine.jobs.compact import compact
from engine.jobs.index import RunOptions
from engine.jobs.repair import Repaired, repair
from engine.jobs.restore import vectors_from_sources
from engine.progress import Silent
from engine.storage import layout
from engine.storage.layout import FileRef
from engine.storage.regular import hash_regular
from indexers.errors import CorruptCollection, NestvecError, NotEnoughMemory
from tests.faults.bases import Letters
from tests.faults.mutate import readdress
from tests.helpers import clustered, draw, flip_bit, index, newest, save, vectors_collection

DIM = 8


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A collection with two shards, one of them indexed, and tombstones."""
    folder = tmp_path_factory.mktemp("made")
    root = vectors_collection(folder, n=20)
    with Collection.open(root, device="cpu") as opened:
        opened.add_vectors(clustered(5, DIM, 1), names=list("abcde"), source="more")
        opened.remove(["v.npy#3"])
    return folder


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "own")) / "c.nest"


def relist(root: Path, change: Callable[[Manifest], Manifest]) -> None:
    """Write the newest version anew, with the right hash."""
    relist_as(root, change(newest(root)))


def relist_as(root: Path, manifest: Manifest) -> None:
    """Write the newest version again."""
    (root / layout.version_file(current_version(root))).write_text(manifest.to_json())


def bare(manifest: Manifest, change: Callable[[FileRef], FileRef]) -> Manifest:
    """Change what is listed of the first shard and its vectors, and leave out what covers them."""
    main = replace(manifest.space().bare(), plans=())
    main = replace(main, embeddings=(change(main.embeddings[0]), *main.embeddings[1:]))
    items = (change(manifest.items[0]), *manifest.items[1:])
    return replace(manifest, items=items, lookup=None, words=manifest.words.bare(), spaces={"main": main})


def changed_table(root: Path, ref: FileRef, change: Callable[[pa.Table], pa.Table]) -> None:
    """Put another table in place of a file, as if it had always been listed."""
    out = io.BytesIO()
    pq.write_table(change(pq.read_table(root / ref.path)), out)
    readdress(root, ref.path, out.getvalue())


def more_rows(root: Path) -> None:
    relist(root, lambda one: bare(one, lambda ref: replace(ref, rows=64 * ref.size)))


def fewer_rows(root: Path) -> None:
    relist(root, lambda one: bare(one, lambda ref: replace(ref, rows=7)))


def a_larger_size(root: Path) -> None:
    relist(root, lambda one: bare(one, lambda ref: replace(ref, rows=1 << 46, size=1 << 46)))


def a_hole(root: Path) -> None:
    """The size and the hash are right: there is a hole in the file. What it says of its rows lies at its end."""
    first = newest(root).items[0]
    data = (root / first.path).read_bytes()
    hollow = root / "items/hollow"
    with hollow.open("wb") as file:
        file.write(data)
        file.truncate(1 << 25)
        file.seek(0, os.SEEK_END)
        file.write(data)
    digest, size = hash_regular(hollow), hollow.stat().st_size
    path = f"items/{digest[: layout.HASH_DIGITS]}.parquet"
    hollow.rename(root / path)

    def hollowed(ref: FileRef) -> FileRef:
        if ref.path == first.path:
            return FileRef(path, size, digest, size)
        return replace(ref, rows=size)

    relist(root, lambda one: replace(bare(one, hollowed), deletes=None))


def shorter_vectors(root: Path) -> None:
    changed_table(root, newest(root).space().embeddings[0], lambda table: table.slice(0, 19))


def shorter_items(root: Path) -> None:
    changed_table(root, newest(root).items[0], lambda table: table.slice(0, 19))


def other_ids(root: Path) -> None:
    ids = pa.array(np.arange(100, 120))
    changed_table(root, newest(root).space().embeddings[0], lambda table: table.set_column(0, "id", ids))


def tombstones_outside(root: Path) -> None:
    ref = newest(root).deletes
    assert ref is not None
    rows = pa.array([1 << 30], pa.int32())
    changed_table(root, ref, lambda table: table.set_column(1, pa.field("row", pa.int32(), nullable=False), rows))


def contents_that_are_none(root: Path) -> None:
    def change(table: pa.Table) -> pa.Table:
        at = table.column_names.index("content")
        return table.set_column(at, table.schema.field(at), pa.array(["b3:no hash at all"] * len(table)))

    changed_table(root, newest(root).items[0], change)


def a_matrix_of(rows: int, dim: int) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        out = io.BytesIO()
        np.save(out, np.ones((rows, dim), np.float16))
        covering = newest(root).space().vectors
        assert covering is not None
        readdress(root, covering.file.path, out.getvalue())
        flip_bit(root / newest(root).space().embeddings[0].path, 200)

    return change


DOCTORS = {
    "more rows": more_rows,
    "fewer rows": fewer_rows,
    "a larger size": a_larger_size,
    "a hole": a_hole,
    "shorter vectors": shorter_vectors,
    "shorter items": shorter_items,
    "other ids": other_ids,
    "tombstones outside": tombstones_outside,
    "contents that are none": contents_that_are_none,
    "a matrix of fewer rows": a_matrix_of(19, DIM),
    "a matrix of other dimensions": a_matrix_of(20, DIM + 1),
}


def mended(root: Path, *, accept_loss: bool = False) -> Repaired:
    return repair(root, RunOptions(device="cpu"), Silent(), accept_loss=accept_loss)


VERBS: dict[str, Callable[[Path], object]] = {
    "diff": lambda root: diff(root, 1),
    "add": lambda root: index(root, save(root.parent / "v.npy", clustered(25, DIM, 3)), add=True),
    "index": lambda root: index(root, save(root.parent / "v.npy", clustered(25, DIM, 3))),
    "remove": lambda root: Collection.open(root, device="cpu").remove(["v.npy#5"]),
    "compact": compact,
    "repair": mended,
    "repair --accept-loss": lambda root: mended(root, accept_loss=True),
    "verify": lambda root: list(verify(root)),
    "search": lambda root: Collection.open(root, device="cpu").search(clustered(1, DIM), 3)[0].uris,
}


@pytest.mark.parametrize("doctor", DOCTORS)
def test_what_lies_is_refused_in_words(root: Path, doctor: str) -> None:
    DOCTORS[doctor](root)
    refused = set()
    for verb, carry_out in VERBS.items():
        copy = Path(shutil.copytree(root.parent, root.parent.parent / verb)) / root.name
        try:
            carry_out(copy)
        except NestvecError:
            refused.add(verb)
    # Contents are looked at where pictures are compared with them, and here are none.
    assert refused or "matrix" in doctor or "contents" in doctor, "nobody noticed"


def test_versions_that_contradict_each_other_are_not_compared(root: Path) -> None:
    """A shard that both list is not read: what they say of its rows must be the same."""
    relist(root, lambda one: bare(one, lambda ref: replace(ref, rows=ref.rows + 1)))
    with pytest.raises(CorruptCollection, match="say different things of items/"):
        diff(root, current_version(root) - 1)


def test_files_lie_where_their_kind_does(root: Path) -> None:
    """What a file must have is known by its folder: tombstones that lie elsewhere had no columns to be looked for."""
    one, first = newest(root), newest(root).items[0]
    main = one.space()
    assert one.deletes is not None
    for wrong in (
        replace(one, deletes=replace(first, rows=1)),
        replace(one, failures=one.deletes),
        replace(one, items=(replace(one.items[0], path=one.deletes.path, blake3=one.deletes.blake3), *one.items[1:])),
        replace(one, spaces={"main": replace(main, embeddings=one.items)}),
        replace(one, spaces={"main": replace(main, canaries=first)}),
    ):
        relist_as(root, wrong)
        with pytest.raises(CorruptCollection, match="is listed where a file of"):
            newest(root)
        relist_as(root, one)


def test_a_space_has_the_dimensions_of_its_encoder(root: Path) -> None:
    relist(root, lambda one: replace(one, spaces={"main": replace(one.space(), dim=1 << 20)}))
    with pytest.raises(CorruptCollection, match="has 1048576 dimensions, and what makes it 8"):
        newest(root)


def test_what_another_writer_left_is_hashed_before_it_is_believed(root: Path) -> None:
    with Collection.open(root, device="cpu") as opened:
        before = opened.snapshot.manifest
        opened.add_vectors(clustered(2, DIM, 2), names=["x", "y"], source="more")
    now = newest(root)
    flip_bit(root / now.items[-1].path, 100)
    change = append(root, now.items[-1], {"main": now.space().embeddings[-1]}, {1}, before)
    with pytest.raises(CorruptCollection, match="hash does not match"):
        change(now)
    assert now.deletes is not None
    flip_bit(root / now.deletes.path, 100)
    with pytest.raises(CorruptCollection, match="hash does not match"):
        tombstones_of(root, now)
    failed = record_failures(root, set(), [Failure("v.npy", "x", "y")])(now)
    assert failed.failures is not None
    flip_bit(root / failed.failures.path, 100)
    with pytest.raises(CorruptCollection, match="hash does not match"):
        record_failures(root, set(), [Failure("v.npy", "z", "y")])(failed)


def test_vectors_too_long_for_the_memory_are_not_made_again(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NESTVEC_MEMORY", "1GiB")
    manifest = newest(root)
    long = replace(manifest, spaces={"main": replace(manifest.space(), dim=1 << 28)})
    with pytest.raises(NotEnoughMemory, match="20 vectors of 268,435,456 dimensions take 30"):
        vectors_from_sources(root, long, "main", 0, set(), lambda: None)


@pytest.mark.parametrize("place", ["pipe.npy", "zero.npy", "nothing\0.npy", "other.npy", ""])
def test_a_source_of_vectors_may_be_anything_now(root: Path, place: str) -> None:
    """The shard and the matrix are gone, and the collection says where its vectors came from."""
    folder = root.parent
    os.mkfifo(folder / "pipe.npy")
    (folder / "zero.npy").symlink_to("/dev/zero")
    save(folder / "other.npy", np.ones((20, DIM + 1)))
    location = f"{folder}/{place}".replace("\0", "%00")
    sources = [replace(one, location=location) if one.name == "v.npy" else one for one in newest(root).sources]
    relist(root, lambda one: replace(one, sources=tuple(sources)))
    entry = newest(root).space()
    assert entry.vectors is not None
    for ref in (entry.embeddings[0], entry.vectors.file):
        flip_bit(root / ref.path, 200)
    done = mended(root)
    assert len(done.lost) == 19
    assert all("the source is gone, or has changed" in text for text in done.lost)


class Colours(Letters):
    """An encoder of pictures without weights."""

    modalities = frozenset({"image"})

    def prepare(self, picture: Any) -> Any:
        return np.asarray(picture.resize((2, 1)), dtype=np.float32)

    def encode_images(self, batch: Any) -> Any:
        rows = np.pad(batch.reshape(len(batch), -1), ((0, 0), (1, 1)), constant_values=1)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_pictures_are_encoded_again_only_from_below_their_source(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    names = ["a.png", "sub/b.png", "link.png", "pipe.png", "zero.png", "../out.png", str(tmp_path / "out.png"), "c.png"]
    for number, name in enumerate(names[:2]):
        draw(photos / name, number)
    outside = draw(tmp_path / "out.png", 5).read_bytes()
    (photos / "link.png").symlink_to("../out.png")
    os.mkfifo(photos / "pipe.png")
    (photos / "zero.png").symlink_to("/dev/zero")
    draw(photos / "c.png", 7)
    with Collection.create(tmp_path / "c.nest", encoder="precomputed", dim=DIM, device="cpu") as opened:
        opened.add_vectors(clustered(8, DIM), names=names)
    contents = [(photos / name).read_bytes() if name in ("a.png", "sub/b.png") else outside for name in names]

    def change(table: pa.Table) -> pa.Table:
        at = table.column_names.index("content")
        hashes = pa.array([f"b3:{blake3(one).hexdigest()[:32]}" for one in contents])
        return table.set_column(at, table.schema.field(at), hashes)

    changed_table(tmp_path / "c.nest", newest(tmp_path / "c.nest").items[0], change)
    manifest = replace(newest(tmp_path / "c.nest"), sources=(Source("api", "folder", str(photos)),))
    _, lost = vectors_from_sources(tmp_path / "c.nest", manifest, "main", 0, set(), Colours)
    assert [one.path for one in lost] == names[2:]  # of the last one the content has changed
