"""Bring a collection in line with its sources, encoding only what is new or changed."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from blake3 import blake3

from engine.collection import changes
from engine.collection.changes import Tombstone
from engine.collection.commit import commit
from engine.collection.manifest import Manifest
from engine.collection.shards import SHARD_ROWS, vector_shard_rows
from engine.collection.snapshot import Snapshot
from engine.encoders.base import Encoder
from engine.ingest.catalogue import Catalogue, Known, StoredVectors
from engine.ingest.entries import Entry, Listing
from engine.ingest.pictures import DEFAULT_MAX_PIXELS
from engine.ingest.pipeline import Encoded, Skipped, encode_pictures
from engine.ingest.report import Advance, Listener, Summary
from engine.ingest.writer import Row, ShardWriter
from indexers.errors import InvalidVectors, SourceError
from indexers.vectors import FloatArray, as_matrix, normalize


@dataclass(frozen=True)
class EncodeOptions:
    """How pictures are encoded.

    Attributes:
        batch_size: pictures a batch.
        workers: decoding threads.
        max_pixels: larger pictures are refused.
    """

    batch_size: int = 32
    workers: int = 2
    max_pixels: int = DEFAULT_MAX_PIXELS


@dataclass
class Comparison:
    """What a first look at the sources found, before anything is encoded.

    Attributes:
        total: entries in all listings.
        todo: entries that may need encoding.
        gone: row numbers of items that are no longer in their source.
    """

    total: int = 0
    todo: int = 0
    gone: list[int] = field(default_factory=list)


def read_file(entry: Entry) -> bytes:
    """Read a picture file whole."""
    with open(entry.location, "rb") as file:
        return file.read()


def compare(listings: Iterable[Listing], catalogue: Catalogue, *, notice_gone: bool) -> Comparison:
    """List the sources once and compare them with what the collection holds.

    Raises:
        SourceError: a source names two items alike.
    """
    result = Comparison()
    for listing in listings:
        keys = array("Q")
        for entry in listing.entries():
            keys.append(entry.key)
            result.total += 1
            result.todo += not _is_unchanged(entry, catalogue.known(entry))
        seen = np.frombuffer(keys, dtype=np.uint64) if keys else np.empty(0, np.uint64)
        if notice_gone:
            result.gone += catalogue.missing(listing.source.name, seen).tolist()
    return result


def _is_unchanged(entry: Entry, known: Known | None) -> bool:
    return (
        known is not None
        and entry.problem is None
        and (known.size, known.mtime_ns, known.meta_key) == (entry.size, entry.mtime_ns, entry.meta_key)
    )


class Sync:
    """One run over some sources: state shared by the steps of it."""

    def __init__(
        self,
        root: Path,
        space: str,
        encoder: Encoder,
        options: EncodeOptions,
        listener: Listener,
        summary: Summary,
    ) -> None:
        self.root = root
        self.space = space
        self.encoder = encoder
        self.options = options
        self.listener = listener
        self.summary = summary

    def run(self, listings: list[Listing], *, notice_gone: bool) -> None:
        """List, compare, encode, commit.

        Args:
            listings: the sources.
            notice_gone: whether items missing from them are removed.
        """
        with Snapshot.open(self.root) as snapshot:
            self.catalogue = Catalogue(snapshot)
            self.vectors = StoredVectors(snapshot, self.space)
            self.snapshot = snapshot
            found = compare(listings, self.catalogue, notice_gone=notice_gone)
            self.gone = set(found.gone)
            self.moved: set[int] = set()
            self.seen: set[int] = set()
            self.listener.say(f"{found.total} found, {found.todo} to look at, {len(found.gone)} gone from their source")
            sources = [listing.source for listing in listings]
            reservation, first = changes.reserve(self.root, sources, found.todo)
            base = commit(self.root, reservation, operation="reserve")
            self.next_id = first[0]
            self._write(listings, found, base)
            self.summary.ignored = sum(listing.ignored for listing in listings)

    def _write(self, listings: list[Listing], found: Comparison, base: Manifest) -> None:
        entry = base.space(self.space)
        ready = any(listing.source.kind == "vectors" for listing in listings)
        rows = vector_shard_rows(entry.dim, entry.dtype) if ready else SHARD_ROWS
        writer = ShardWriter(self.root, self.space, base, shard_rows=rows, committed=self._committed)
        for listing in listings:
            writer.run_over(listing.source.name)
        with self.listener.progress("encoding", found.todo) as advance:
            try:
                self._stream(listings, writer, advance)
            except KeyboardInterrupt:
                # What was encoded is paid for: keep it, and let the next run go on from here.
                writer.flush("add")
                raise
        left = self.gone - self.moved
        result = writer.flush("index", bury=[self._tombstone(position) for position in sorted(left)])
        self.summary.removed += len(left)
        self.summary.failed += len(writer.failures)
        self._committed(result)

    def _committed(self, manifest: Manifest) -> None:
        self.summary.version = manifest.version

    def _stream(self, listings: list[Listing], writer: ShardWriter, advance: Advance) -> None:
        todo = (entry for listing in listings for entry in self._todo(listing, writer, advance))
        if "image" not in self.encoder.modalities:
            for entry in todo:
                writer.fail(entry, f"is a picture, and {self.encoder.name} takes none")
                advance(1)
            return
        batches = encode_pictures(
            self.encoder,
            todo,
            read_file,
            reuse=lambda content: next(self.catalogue.with_content(content), None) is not None,
            batch_size=self.options.batch_size,
            workers=self.options.workers,
            max_pixels=self.options.max_pixels,
        )
        for batch in batches:
            for outcome in batch:
                self._take(outcome, writer)
            advance(len(batch))

    def _todo(self, listing: Listing, writer: ShardWriter, advance: Advance) -> Iterator[Entry]:
        """Yield the pictures to read; whatever needs no picture is dealt with on the way."""
        for entry in listing.entries():
            known = self.catalogue.known(entry)
            if entry.problem is not None:
                writer.fail(entry, entry.problem)
                advance(1)
            elif _is_unchanged(entry, known):
                self.summary.unchanged += 1
            elif entry.vector is not None:
                self._take_vector(entry, known, writer)
                advance(1)
            elif known is not None and (known.size, known.mtime_ns) == (entry.size, entry.mtime_ns):
                self._relabel(entry, known, writer)
                advance(1)
            else:
                yield entry

    def _take(self, outcome: Encoded[Entry] | Skipped[Entry], writer: ShardWriter) -> None:
        entry = outcome.item
        if isinstance(outcome, Skipped):
            writer.fail(entry, outcome.reason)
            return
        known = self.catalogue.known(entry)
        if outcome.vector is None:
            self._reuse(entry, known, outcome.content, writer)
            return
        self.summary.encoded += 1
        self._put(entry, known, outcome.content, (outcome.width, outcome.height), outcome.vector, writer)

    def _put(
        self,
        entry: Entry,
        known: Known | None,
        content: str,
        size: tuple[int, int],
        vector: FloatArray,
        writer: ShardWriter,
    ) -> None:
        """Write a row for new or changed content; a known item keeps its id."""
        if known is None:
            self.summary.added += 1
            writer.add(Row(entry, self._new_id(), content, *size, vector))
        else:
            self.summary.changed += 1
            writer.add(Row(entry, known.id, content, *size, vector, self._tombstone(known.position)))

    def _reuse(self, entry: Entry, known: Known | None, content: str, writer: ShardWriter) -> None:
        """Write a row for content the collection has a vector of already."""
        if known is not None and known.content == content:
            if known.meta_key == entry.meta_key:
                self.summary.unchanged += 1
            else:
                self._relabel(entry, known, writer)
            return
        same = list(self.catalogue.with_content(content))
        origin = next((one for one in same if one.position in self.gone - self.moved), None)
        if known is None and origin is not None:
            self.moved.add(origin.position)
            self.summary.moved += 1
            self._copy(entry, origin, origin.id, origin, writer)
        elif known is None:
            self.summary.added += 1
            self._copy(entry, same[0], self._new_id(), None, writer)
        else:
            self.summary.changed += 1
            self._copy(entry, same[0], known.id, known, writer)

    def _relabel(self, entry: Entry, known: Known, writer: ShardWriter) -> None:
        self.summary.relabelled += 1
        self._copy(entry, known, known.id, known, writer)

    def _copy(self, entry: Entry, origin: Known, id: int, replaced: Known | None, writer: ShardWriter) -> None:
        vector = self.vectors(origin.position)
        tombstone = None if replaced is None else self._tombstone(replaced.position)
        writer.add(Row(entry, id, origin.content, origin.width, origin.height, vector, tombstone))

    def _take_vector(self, entry: Entry, known: Known | None, writer: ShardWriter) -> None:
        """Check and write a vector that exists already."""
        if entry.key in self.seen:
            writer.fail(entry, "another row of this source has the same name")
            return
        self.seen.add(entry.key)
        try:
            vector = normalize(as_matrix(entry.vector, name="vector", dim=self.encoder.dim), name="vector")[0]
        except InvalidVectors as error:
            writer.fail(entry, str(error))
            return
        content = f"b3:{blake3(vector.tobytes()).hexdigest(length=16)}"
        if known is not None and (known.content, known.meta_key) == (content, entry.meta_key):
            self.summary.unchanged += 1
        elif known is not None and known.content == content:
            self._relabel(entry, known, writer)
        else:
            self._put(entry, known, content, (0, 0), vector, writer)

    def _new_id(self) -> int:
        self.next_id += 1
        return self.next_id - 1

    def _tombstone(self, position: int) -> Tombstone:
        ref, row = self.snapshot.locate(position)
        return ref.path, row


def check_dimensions(encoder: Encoder, dim: int, *, name: str) -> None:
    """Refuse vectors of another dimension than the collection's encoder makes.

    Raises:
        SourceError: they differ.
    """
    if encoder.dim != dim:
        raise SourceError(f"{name} holds vectors of {dim} dimensions, and {encoder.name} makes {encoder.dim}")
