"""Bring a collection in line with its sources, encoding only what is new or changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass
from pathlib import Path

from engine.collection import changes
from engine.collection.commit import commit
from engine.collection.manifest import Manifest, Source
from engine.collection.shards import SHARD_ROWS, vector_shard_rows
from engine.collection.snapshot import Snapshot
from engine.encoders.base import Encoder
from engine.ingest.catalogue import Catalogue, Known, StoredVectors
from engine.ingest.compare import Comparison, compare, has_stamp_of, is_unchanged
from engine.ingest.entries import Block, Entry, Listing, PictureListing, VectorListing
from engine.ingest.kept import complete
from engine.ingest.pictures import DEFAULT_MAX_PIXELS
from engine.ingest.pipeline import Encoded, Skipped, encode_pictures
from engine.ingest.report import Advance, Listener, Summary
from engine.ingest.unit import contents_of, unit_rows
from engine.ingest.writer import Row, ShardWriter
from indexers.errors import SourceError
from indexers.vectors import FloatArray

# A picture of a hundred million pixels is smaller than this in any format that is taken.
MOST_FILE_BYTES = 1 << 30
MORE_IDS = 1024

Held = Callable[[], AbstractContextManager[Callable[[], bool]]]
"""Makes a block in which an interruption is only told, by its value, and raised where the block ends."""


def unheld() -> AbstractContextManager[Callable[[], bool]]:
    """Leave interruptions as they are: they are raised wherever they come in."""
    return nullcontext(lambda: False)


@dataclass(frozen=True)
class EncodeOptions:
    """How pictures are encoded.

    Attributes:
        batch_size: pictures a batch.
        workers: decoding threads.
        max_pixels: larger pictures are refused.
        held: asked while there is something to finish; see `cli.signals`.
    """

    batch_size: int = 32
    workers: int = 2
    max_pixels: int = DEFAULT_MAX_PIXELS
    held: Held = unheld


def read_file(entry: Entry) -> bytes:
    """Read a picture file whole."""
    with open(entry.location, "rb") as file:
        return file.read()


class Ids:
    """Ids set aside for one run; more are reserved when a source has grown since it was compared."""

    def __init__(self, root: Path, sources: Sequence[Source], count: int, prepared_on: Manifest) -> None:
        self._root = root
        self._prepared_on = prepared_on
        self._reserve(sources, count)

    def _reserve(self, sources: Sequence[Source], count: int) -> None:
        change, first = changes.reserve(self._root, sources, count, self._prepared_on)
        commit(self._root, change, operation="reserve")
        self._next, self._end = first[0], first[0] + count

    def take(self, count: int = 1) -> int:
        """Return the first of `count` consecutive new ids."""
        if self._next + count > self._end:
            self._reserve((), max(count, MORE_IDS))
        self._next += count
        return self._next - count


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

    def run(
        self,
        listings: Sequence[Listing],
        *,
        notice_gone: bool,
        compared: Callable[[Comparison], None] = lambda _: None,
    ) -> None:
        """List, compare, encode, commit.

        Args:
            listings: the sources.
            notice_gone: whether items missing from them are removed.
            compared: is told what the first look found, before anything is written; may raise.
        """
        with Snapshot.open(self.root) as snapshot:
            self.snapshot = snapshot
            self.catalogue = Catalogue(snapshot)
            self.vectors = StoredVectors(snapshot, self.space)
            found = compare(listings, self.catalogue, snapshot, notice_gone=notice_gone)
            self.gone = set(found.gone)
            self.moved: set[int] = set()
            self.repeated = dict.fromkeys(found.repeated, False)
            self.listener.say(f"{found.total} found, {found.todo} to look at, {len(found.gone)} gone from their source")
            compared(found)
            self.ids = Ids(self.root, [listing.source for listing in listings], found.new, snapshot.manifest)
            self._write(listings, found)
            # Indexes are built next, and need the room.
            del self.catalogue, self.vectors

    def _write(self, listings: Sequence[Listing], found: Comparison) -> None:
        # What the sources were compared with, and no later version: what came after it is another writer's.
        writer = ShardWriter(self.root, self.space, self.snapshot.manifest, committed=self._committed)
        for listing in listings:
            writer.run_over(listing)
        with self.options.held() as stopping:
            self._stopping = stopping
            with self.listener.progress("encoding", found.todo) as advance:
                try:
                    for listing in listings:
                        if not stopping():
                            self._take_in(listing, writer, advance)
                except KeyboardInterrupt:
                    if not stopping():  # nobody is in a hurry: what was encoded is paid for
                        writer.flush("add")
                    raise
            if stopping():
                writer.flush("add")
            else:
                self._finish(writer)

    def _finish(self, writer: ShardWriter) -> None:
        """Commit the last shard, and take out what is gone."""
        left = self.gone - self.moved
        writer.flush("index", bury=sorted(left))
        self.summary.removed += len(left)
        self.summary.failed += len(writer.failures)

    def _committed(self, manifest: Manifest) -> None:
        self.summary.version = manifest.version

    def _take_in(self, listing: Listing, writer: ShardWriter, advance: Advance) -> None:
        if isinstance(listing, VectorListing):
            entry = self.snapshot.manifest.space(self.space)
            writer.shard_rows = vector_shard_rows(entry.dim, entry.dtype)
            for block in listing.blocks():
                writer.look_at(listing, block.paths)
                self._take_block(block, writer, advance)
                if self._stopping():
                    return
        else:
            writer.shard_rows = SHARD_ROWS
            self._encode(listing, writer, advance)
            self.summary.ignored += listing.ignored

    # -- pictures ------------------------------------------------------------------------

    def _encode(self, listing: PictureListing, writer: ShardWriter, advance: Advance) -> None:
        batches = encode_pictures(
            self.encoder,
            self._todo(listing, writer, advance),
            read_file,
            reuse=lambda content: next(self.catalogue.with_content(content), None) is not None,
            batch_size=self.options.batch_size,
            workers=self.options.workers,
            max_pixels=self.options.max_pixels,
        )
        # Closed at once when interrupted: its threads must not go on encoding what nobody will take.
        with closing(batches):
            for batch in batches:
                for outcome in batch:
                    self._take(outcome, writer)
                advance(len(batch))

    def _todo(self, listing: PictureListing, writer: ShardWriter, advance: Advance) -> Iterator[Entry]:
        """Yield the pictures to read; whatever needs no picture is dealt with on the way."""
        for listed in listing.entries():
            if self._stopping():
                # What is done is safe at once; what is in work comes after it, and that may take a while.
                writer.flush("add")
                return
            if self._is_repeated(listed.key):
                continue
            writer.look_at(listing, [listed.path])
            known = self.catalogue.known(listed.key)
            entry = complete(listed, known, self.snapshot)
            problem = entry.problem
            if problem is None and entry.size > MOST_FILE_BYTES:
                problem = f"of {entry.size} bytes is larger than any picture; at most {MOST_FILE_BYTES} are read"
            if problem is not None:
                writer.fail(entry.source, entry.path, problem)
                advance(1)
            elif is_unchanged(entry, known):
                self.summary.unchanged += 1
            elif known is not None and has_stamp_of(entry, known):
                self._relabel(entry, known, writer)
                advance(1)
            else:
                yield entry

    def _is_repeated(self, key: int) -> bool:
        """Whether an item was seen before in this run: a folder and a picture in it may both be named."""
        before = self.repeated.get(key, False)
        if key in self.repeated:
            self.repeated[key] = True
        return before

    def _take(self, outcome: Encoded[Entry] | Skipped[Entry], writer: ShardWriter) -> None:
        entry = outcome.item
        if isinstance(outcome, Skipped):
            writer.fail(entry.source, entry.path, outcome.reason)
            return
        known = self.catalogue.known(entry.key)
        if outcome.vector is None:
            self._reuse(entry, known, outcome.content, writer)
            return
        self.summary.encoded += 1
        size = (outcome.width, outcome.height)
        if known is None:
            self.summary.added += 1
            writer.add(Row(entry, self.ids.take(), outcome.content, *size, outcome.vector))
        else:
            self.summary.changed += 1
            writer.add(Row(entry, known.id, outcome.content, *size, outcome.vector, known.position))

    def _reuse(self, entry: Entry, known: Known | None, content: str, writer: ShardWriter) -> None:
        """Write a row for content the collection has a vector of already."""
        if known is not None and known.content == content:
            self._touched(entry, known, writer)
            return
        same = list(self.catalogue.with_content(content))
        origin = next((one for one in same if one.position in self.gone and one.position not in self.moved), None)
        if known is None and origin is not None:
            self.moved.add(origin.position)
            self.summary.moved += 1
            writer.relabel(complete(entry, origin, self.snapshot), origin)
        elif known is None:
            self.summary.added += 1
            self._copy(entry, same[0], self.ids.take(), None, writer)
        else:
            self.summary.changed += 1
            self._copy(entry, same[0], known.id, known.position, writer)

    def _touched(self, entry: Entry, known: Known, writer: ShardWriter) -> None:
        """Note the new time of a file whose content is the same: the next run need not read it again."""
        if known.meta_key == entry.meta_key:
            self.summary.unchanged += 1
        else:
            self.summary.relabelled += 1
        writer.relabel(entry, known)

    def _relabel(self, entry: Entry, known: Known, writer: ShardWriter) -> None:
        self.summary.relabelled += 1
        writer.relabel(entry, known)

    def _copy(self, entry: Entry, origin: Known, id: int, replaces: int | None, writer: ShardWriter) -> None:
        vector = self.vectors(origin.position)
        writer.add(Row(entry, id, origin.content, origin.width, origin.height, vector, replaces))

    # -- vectors -------------------------------------------------------------------------

    def _take_block(self, block: Block, writer: ShardWriter, advance: Advance) -> None:
        """Check and write vectors that exist already: new rows together, known ones one by one."""
        positions, unchanged = self.catalogue.look_up(block)
        advance(len(block) - int(unchanged.sum()))
        if unchanged.all() and not self.repeated:
            self.summary.unchanged += len(block)
            return
        unit, wrong = unit_rows(block.vectors, self.encoder.dim)
        contents = contents_of(block.vectors)
        new: list[int] = []
        for row, (key, position, same) in enumerate(
            zip(block.keys.tolist(), positions.tolist(), unchanged.tolist(), strict=True)
        ):
            if self._is_repeated(key):
                writer.fail(block.source, block.paths[row], "another row of this source has the same name")
            elif same:
                self.summary.unchanged += 1
            elif row in wrong:
                writer.fail(block.source, block.paths[row], wrong[row])
            elif position < 0:
                new.append(row)
            else:
                self._take_known(block.entry(row), self.catalogue.at(position), contents[row], unit[row], writer)
        if new:
            self.summary.added += len(new)
            writer.extend(block, new, self.ids.take(len(new)), [contents[row] for row in new], unit[new])

    def _take_known(self, entry: Entry, known: Known, content: str, vector: FloatArray, writer: ShardWriter) -> None:
        if known.content != content:
            self.summary.changed += 1
            writer.add(Row(entry, known.id, content, 0, 0, vector, known.position))
        elif known.meta_key != entry.meta_key:
            self._relabel(entry, known, writer)
        else:
            self.summary.unchanged += 1


def check_dimensions(encoder: Encoder, dim: int, *, name: str) -> None:
    """Refuse vectors of another dimension than the collection's encoder makes.

    Raises:
        SourceError: they differ.
    """
    if encoder.dim != dim:
        raise SourceError(f"{name} holds vectors of {dim} dimensions, and {encoder.name} makes {encoder.dim}")
