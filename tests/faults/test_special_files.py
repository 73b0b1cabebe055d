"""Pipes, devices and folders where a file is named: everything that opens one refuses it at once, and says what it is.

For the files of a collection see `test_links`.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3

from engine.collection.commit import current_version
from engine.collection.manifest import Manifest
from engine.collection.originals import read_below
from engine.collection.reading import from_json
from engine.encoders.bundled.encoder import BundledEncoder
from engine.encoders.weights import local_file, read_state_dict
from engine.evaluation.trec import read_qrels
from engine.heads.model import load_head
from engine.ingest.beside import said_beside
from engine.ingest.entries import Entry, read_file
from engine.ingest.folders import Folder, PictureTable
from engine.ingest.sources import TableOptions, open_sources
from engine.ingest.tables import LabelTable
from engine.jobs.restore import unused_id
from engine.query.encode import picture_query
from engine.storage import layout
from engine.storage.layout import FileRef
from indexers.errors import CorruptCollection, NestvecError
from tests.helpers import COMMAND, draw, newest, save, vectors_collection

KINDS: dict[str, Callable[[Path], object]] = {
    "a named pipe": os.mkfifo,
    "a device": lambda path: path.symlink_to("/dev/zero"),
    "a folder": Path.mkdir,
}

OPENED: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "a picture to index": ("p.jpg", lambda path: read_file(Entry("s", "p.jpg", location=os.fsencode(path)))),
    "a picture to ask with": ("p.jpg", lambda path: picture_query(BundledEncoder(), path, max_pixels=1 << 20)),
    "a picture to encode again": ("p.jpg", lambda path: read_below(str(path.parent), path.name)),
    "vectors": (
        "v.npy",
        lambda path: [list(one.blocks()) for one in open_sources([path], TableOptions(), None).vectors],
    ),
    "vectors in Parquet": ("v.parquet", lambda path: open_sources([path], TableOptions(), None)),
    "judgements": ("q.txt", read_qrels),
    "a head": ("h.safetensors", load_head),
    "a head in a spec": ("h.safetensors", lambda path: local_file(str(path), what="it")),
    "weights": ("w.safetensors", read_state_dict),
    "other weights": ("w.pth", read_state_dict),
}


@pytest.mark.parametrize("what", OPENED)
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_file_is_never_waited_for(tmp_path: Path, kind: str, what: str) -> None:
    name, read = OPENED[what]
    KINDS[kind](tmp_path / name)
    if kind == "a folder" and what.startswith("vectors"):
        return  # a source may be one
    outside = kind == "a device" and what == "a picture to encode again"
    with pytest.raises((NestvecError, OSError)) as caught:
        read(tmp_path / name)
    assert ("lies outside" if outside else f"is {kind} and no regular file") in str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
def test_sources_pass_over_what_is_no_file(tmp_path: Path, kind: str) -> None:
    draw(tmp_path / "p/good.png", 0)
    for name in ("odd.jpg", "odd", "good.txt"):
        KINDS[kind](tmp_path / "p" / name)
    listing = open_sources([tmp_path / "p"], TableOptions(), None).listings[0]
    assert isinstance(listing, Folder)
    assert [(one.path, one.caption) for one in listing.entries()] == [("good.png", None)]
    assert said_beside(os.fsencode(tmp_path / "p/good.png")).caption is None
    table = PictureTable(listing.source, tmp_path / "p/t.csv", LabelTable("t", {"odd.jpg": (None, {})}))
    assert [one.problem for one in table.entries()] == [f"cannot be read: is {kind} and no regular file"]


def test_a_clip_retrieval_folder_names_files_too(tmp_path: Path) -> None:
    for folder in ("img_emb", "metadata"):
        (tmp_path / folder).mkdir()
    save(tmp_path / "img_emb/img_emb_0.npy", [[1.0, 0.0]])
    os.mkfifo(tmp_path / "metadata/metadata_0.parquet")
    (listing,) = open_sources([tmp_path], TableOptions(), None).vectors
    with pytest.raises(NestvecError, match="is a named pipe and no regular file"):
        list(listing.blocks())


def test_ids_are_looked_for_in_shards_alone(tmp_path: Path) -> None:
    root = vectors_collection(tmp_path, n=20)
    assert unused_id(root) == 20
    os.mkfifo(root / "items/1.parquet")
    (root / "items/2.parquet").symlink_to("/dev/zero")
    (root / "items/3.parquet").write_bytes(b"PAR1")
    assert unused_id(root) == 20


# -- sizes -------------------------------------------------------------------------------------


def relisted(root: Path, change: Callable[[Manifest], Manifest]) -> None:
    """Write the newest version anew, with the right hash: what somebody hostile would do."""
    path = root / layout.version_file(current_version(root))
    path.write_text(change(newest(root)).to_json())


def test_a_file_of_nothing_is_not_listed(tmp_path: Path) -> None:
    """A device says that it is empty: with the hash of nothing it was taken for what was listed."""
    root = vectors_collection(tmp_path, n=20)
    digest = blake3(b"").hexdigest()
    empty = FileRef(f"lookup/{digest[: layout.HASH_DIGITS]}.arrow", 0, digest, 20)
    (root / empty.path).symlink_to("/dev/zero")
    manifest = newest(root)
    assert manifest.lookup is not None
    text = replace(manifest, lookup=replace(manifest.lookup, file=empty)).to_json()
    with pytest.raises(CorruptCollection, match="not a file of a collection"):
        from_json(text, name="v")


def test_a_version_beyond_any_size_is_not_read(tmp_path: Path) -> None:
    root = vectors_collection(tmp_path, n=20)
    os.truncate(root / layout.version_file(current_version(root)), 1 << 36)
    with pytest.raises(CorruptCollection, match="is larger than 67,108,864 bytes"):
        newest(root)


def test_a_hash_that_takes_long_hears_a_signal(tmp_path: Path) -> None:
    root = vectors_collection(tmp_path, n=20)
    ref = newest(root).items[0]
    os.truncate(root / ref.path, 1 << 38)
    relisted(root, lambda one: replace(one, items=(replace(ref, size=1 << 38),)))
    with subprocess.Popen([COMMAND, "verify", root], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        handles, wanted = Path(f"/proc/{running.pid}/fd"), os.path.realpath(root / ref.path)
        while wanted not in {os.path.realpath(one) for one in handles.iterdir()}:
            assert running.poll() is None
            time.sleep(0.02)
        running.terminate()
        assert running.wait(timeout=60) == 143
