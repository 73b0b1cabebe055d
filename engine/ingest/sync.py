"""Bring a collection in line with its sources, encoding only what is new or changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path

from engine.collection.failures import Failure
from engine.collection.manifest import Manifest
from engine.collection.shards import SHARD_ROWS, vector_shard_rows
from engine.collection.snapshot import Snapshot
from engine.encoders.base import Encoder
from engine.encoders.formats import readers
from engine.ingest.as_before import AsBefore
from engine.ingest.catalogue import Catalogue, Known, StoredVectors, rows_of
from engine.ingest.compare import Comparison, compare, has_stamp_of, is_unchanged
from engine.ingest.containers import ContainerListing
from engine.ingest.entries import Block, Entry, Listing, PictureListing, VectorListing, read_file
from engine.ingest.failed import KnownFailures
from engine.ingest.folders import Folder
from engine.ingest.ids import Ids
from engine.ingest.kept import complete, with_set
from engine.ingest.metadata.found import columns_in, found_again, found_in
from engine.ingest.noted import give_notes, note_small
from engine.ingest.options import EncodeOptions
from engine.ingest.pipeline import Encoded, Skipped, content_of, encode_pictures
from engine.ingest.placed import placed
from engine.ingest.rewritten import Rewritten
from engine.ingest.unit import contents_of, unit_rows
from engine.ingest.writer import DONE, Row, ShardWriter
from engine.progress import DEFAULT_ACCEPT_LOSS, Advance, Listener, Loss, Noted, Summary
from indexers.errors import PictureError
from indexers.vectors import FloatArray

SAME_NAME = "another row of this source has the same name"


class Sync:
    """One run over some sources: state shared by the steps of it."""

    def __init__(
        self,
        root: Path,
        load: Callable[[], Encoder],
        options: EncodeOptions,
        listener: Listener,
        summary: Summary,
    ) -> None:
        self.root = root
        self.load = load
        self.options = options
        self.listener = listener
        self.summary = summary

    def run(
        self,
        listings: Sequence[Listing],
        *,
        notice_gone: bool,
        accept_loss: float = DEFAULT_ACCEPT_LOSS,
        removed: Iterable[int] = (),
        compared: Callable[[Comparison], None] = lambda _: None,
    ) -> None:
        """List, compare, encode, commit.

        Args:
            listings: the sources.
            notice_gone: whether items missing from them are removed.
            accept_loss: the share of its items that a source may show less than before; one that shows still less
                keeps them all.
            removed: ids of items that are removed in the same version; one that is gone already is passed over.
            compared: is told what the first look found, before anything is written; may raise.
        """
        with Snapshot.open(self.root) as snapshot:
            self.snapshot = snapshot
            self.catalogue = Catalogue(snapshot)
            self.vectors = StoredVectors(snapshot, snapshot.manifest.roots)
            self.wants = self.options.metadata or snapshot.manifest.metadata
            self.failures = KnownFailures.of(snapshot, readers(self.options.max_pixels), again=self.options.again)
            self.notes = give_notes(listings, snapshot, self.wants)
            for one in (one for one in listings if isinstance(one, Folder | ContainerListing)):
                one.known = AsBefore(one.source.name, one.notes, self.catalogue, self.failures)
            found = compare(
                listings,
                self.catalogue,
                snapshot,
                notice_gone=notice_gone,
                accept_loss=accept_loss,
                failures=self.failures,
                wants=self.wants,
                listener=self.listener,
            )
            gone = list(chain.from_iterable(found.gone.values()))
            self.gone, self.found = {*gone, *rows_of(snapshot, removed)}, found
            self.moved: set[int] = set()
            self.rewritten = Rewritten(snapshot, self.catalogue, self.gone)
            self.repeated = dict.fromkeys(found.repeated, False)
            lost = f"{len(gone) - len(found.unwanted)} gone from their source"
            lost += f", {len(found.unwanted)} no longer wanted" if found.unwanted else ""
            self.listener.say(f"{found.total} found, {found.todo} to look at, {lost}")
            compared(found)
            self.placed = placed(listings, found.shifted, self.catalogue, snapshot)
            self._write(listings, found)
            # Indexes are built next, and need the room.
            del self.catalogue, self.vectors, self.rewritten

    def _write(self, listings: Sequence[Listing], found: Comparison) -> None:
        # What the sources were compared with, and no later version: what came after it is another writer's.
        sources = [listing.source for listing in listings]
        base = self.snapshot.manifest
        writer = ShardWriter(
            self.root,
            base,
            sources=sources,
            committed=self._committed,
            vectors=self.vectors,
            wants=self.wants,
        )
        writer.notes = self.notes
        self.encodes = not all(isinstance(listing, VectorListing) for listing in listings)
        if found.todo <= SHARD_ROWS and not self.encodes:
            # All of it is one commit, which takes the ids it finds: nothing is encoded between the two.
            writer.ids = range(base.next_id, base.next_id)
        self.ids = Ids(self.root, sources, found.new, writer)
        for listing in listings:
            writer.run_over(listing)
        with self.options.held() as stopping:
            self._stopping = stopping
            with self.listener.progress("encoding" if self.encodes else "taking vectors", found.todo) as advance:
                try:
                    for listing in listings:
                        if not stopping():
                            self._take_in(listing, writer, advance)
                except KeyboardInterrupt:
                    if not stopping():  # nobody is in a hurry: what was encoded is paid for
                        writer.flush("add", bury=self._replaced())
                    raise
            if stopping():
                writer.flush("add", bury=self._replaced())
            else:
                self._finish(writer)

    def _finish(self, writer: ShardWriter) -> None:
        """Commit the last shard, and take out what is gone."""
        left = (self.gone - self.moved - self._kept()).union(self._replaced())
        writer.flush(DONE, bury=sorted(left))
        self.summary.removed += len(left)
        self.summary.unwanted += len(left & self.found.unwanted)
        self.summary.failed += len(writer.failures)
        self.summary.failed_before += sum(map(self.failures.is_known, writer.failures))

    def _replaced(self) -> list[int]:
        """Return the rows of items whose name is another's now: no two are to have the same."""
        return sorted(chain.from_iterable(one.replaced for one in self.placed.values()))

    def _kept(self) -> set[int]:
        """Return the rows of items that are missing from sources which may be away, and tell of those."""
        kept: set[int] = set()
        wanted = self.gone - self.moved - self.found.unwanted
        for source in self.snapshot.manifest.sources:
            if source.name in self.found.shrunk and (lost := wanted.intersection(self.found.gone[source.name])):
                now, before = self.found.shrunk[source.name]
                self.summary.losses.append(Loss(source.name, source.location, now, before))
                kept |= lost
        return kept

    def _committed(self, manifest: Manifest) -> None:
        self.summary.version = manifest.version

    def _take_in(self, listing: Listing, writer: ShardWriter, advance: Advance) -> None:
        if (settled := self.found.settled.get(listing)) is not None:
            self.summary.unchanged += settled.unchanged
            writer.failures += settled.failing
        elif isinstance(listing, VectorListing):
            writer.shard_rows = vector_shard_rows(sum(writer.dims.values()), writer.dtype.name)
            row = 0
            for block in listing.blocks():
                writer.look_at(listing, block.paths)
                self._take_block(block, row, writer, advance)
                row += len(block)
                if self._stopping():
                    return
        else:
            writer.shard_rows = SHARD_ROWS
            self._encode(listing, writer, advance)
        if not isinstance(listing, VectorListing):
            self.summary.pass_over(ignored=listing.ignored, **listing.passed)

    # -- pictures ------------------------------------------------------------------------

    def _encode(self, listing: PictureListing, writer: ShardWriter, advance: Advance) -> None:
        entries = self._todo(listing, writer, advance)
        # No encoder is loaded for files that were only touched, moved or copied.
        self._min_size = listing.min_size if isinstance(listing, Folder) else 0
        first = next((entry for entry in entries if not self._take_known_content(entry, writer, advance)), None)
        if first is None:
            return
        batches = encode_pictures(
            self.load(),
            chain([first], entries),
            read_file,
            reuse=self._has_content,
            batch_size=self.options.batch_size,
            workers=self.options.workers,
            max_pixels=self.options.max_pixels,
            min_size=self._min_size,
            told=partial(found_in, wants=self.wants),
        )
        # Closed at once when interrupted: its threads must not go on encoding what nobody will take.
        with closing(batches):
            for batch in batches:
                for outcome in batch:
                    self._take(outcome, writer)
                advance(len(batch))

    def _has_content(self, content: str) -> bool:
        return next(self.catalogue.with_content(content), None) is not None

    def _take_known_content(self, entry: Entry, writer: ShardWriter, advance: Advance) -> bool:
        """Deal with a picture whose content there is a vector of, or that cannot be read; say whether it was one."""
        try:
            content = content_of(data := read_file(entry))
        except (OSError, PictureError) as error:
            self._take(Skipped(entry, str(error), passing=isinstance(error, OSError)), writer)
        else:
            if not self._has_content(content):
                return False
            self._take(Encoded(entry, content, 0, 0, None, found_in(data, self.wants)), writer)
        advance(1)
        return True

    def _todo(self, listing: PictureListing, writer: ShardWriter, advance: Advance) -> Iterator[Entry]:
        """Yield the pictures to read; whatever needs no picture is dealt with on the way."""
        for listed in listing.entries():
            if self._stopping():
                # What is done is safe at once; what is in work comes after it, and that may take a while.
                writer.flush("add")
                return
            if self._is_repeated(listed.key) or (listed.doubtful and listed.key not in self.found.doubts):
                continue
            writer.look_at(listing, [listed.path])
            known = self.catalogue.known(listed.key)
            entry = complete(listed, known, self.snapshot, self.wants)
            failing = self.failures.failing(entry)
            if failing is not None:
                writer.fail(failing)
                advance(int(not self.failures.is_known(failing)))
            elif is_unchanged(entry, known, self.wants):
                self.summary.unchanged += 1
            elif known is not None and has_stamp_of(entry, known):
                self._look_again(entry, known, writer)
                advance(1)
            else:
                yield entry

    def _is_repeated(self, key: int) -> bool:
        """Whether an item was seen before in this run: a folder and a picture in it may both be named."""
        before = self.repeated.get(key, False)
        if key in self.repeated:
            self.repeated[key] = True
        return before

    def _pass_over(self, entry: Entry, side: int) -> None:
        """Take no picture that is smaller than is wanted, and no item that has become one."""
        self.summary.small += 1
        note_small(entry, self.notes[entry.source], side)
        if (known := self.catalogue.known(entry.key)) is not None:
            self.gone.add(known.position)
            self.found.unwanted.add(known.position)

    def _take(self, outcome: Encoded[Entry] | Skipped[Entry], writer: ShardWriter) -> None:
        entry = outcome.item
        if isinstance(outcome, Skipped) and outcome.side:
            self._pass_over(entry, outcome.side)
            return
        if isinstance(outcome, Skipped):
            writer.fail(self.failures.failed(entry, outcome.reason, passing=outcome.passing))
            return
        entry, known = replace(entry, found=outcome.found), self.catalogue.known(entry.key)
        if outcome.vector is None:
            self._reuse(entry, known, outcome.content, writer)
            return
        self.summary.encoded += 1
        if outcome.note is not None:
            self.summary.noted.append(Noted(entry.source, entry.path, outcome.note))
        size = (outcome.width, outcome.height)
        if known is None and (origin := self.rewritten.origin(entry, self.moved)) is not None:
            self.moved.add(origin.position)
            self.summary.moved += 1
            entry = with_set(complete(entry, origin, self.snapshot, self.wants), origin, self.snapshot)
            writer.add(Row(entry, origin.id, outcome.content, *size, outcome.vector, origin.position))
        elif known is None:
            self.summary.added += 1
            writer.add(Row(entry, self.ids.take(), outcome.content, *size, outcome.vector))
        else:
            self.summary.changed += 1
            entry = with_set(entry, known, self.snapshot)
            writer.add(Row(entry, known.id, outcome.content, *size, outcome.vector, known.position))

    def _reuse(self, entry: Entry, known: Known | None, content: str, writer: ShardWriter) -> None:
        """Write a row for content the collection has a vector of already."""
        if known is not None and known.content == content:
            self._relabel(entry, known, writer)
            return
        same = list(self.catalogue.with_content(content))
        if 0 < (side := min(same[0].width, same[0].height)) < self._min_size:
            self._pass_over(entry, side)
            return
        origin = next((one for one in same if one.position in self.gone and one.position not in self.moved), None)
        if known is None and origin is not None:
            self.moved.add(origin.position)
            self.summary.moved += 1
            entry = complete(entry, origin, self.snapshot, self.wants)
            writer.relabel(with_set(entry, origin, self.snapshot), origin)
        elif known is None:
            self.summary.added += 1
            self._copy(entry, same[0], self.ids.take(), None, writer)
        else:
            self.summary.changed += 1
            self._copy(with_set(entry, known, self.snapshot), same[0], known.id, known.position, writer)

    def _relabel(self, entry: Entry, known: Known, writer: ShardWriter) -> None:
        """Note what is new of a file whose content is the same: its labels, its time, or that it was looked into."""
        if known.meta_key == entry.meta_key and columns_in(known.found) == columns_in(entry.found):
            self.summary.unchanged += 1
        else:
            self.summary.relabelled += 1
        writer.relabel(with_set(entry, known, self.snapshot), known)

    def _look_again(self, entry: Entry, known: Known, writer: ShardWriter) -> None:
        """Write what is said of a picture that is as it was; its file is opened where nobody has looked into it."""
        try:
            entry = replace(entry, found=found_again(entry.location, entry.inside, known.found, self.wants))
        except (OSError, PictureError) as error:
            self._take(Skipped(entry, str(error), passing=isinstance(error, OSError)), writer)
            return
        self._relabel(entry, known, writer)

    def _copy(self, entry: Entry, origin: Known, id: int, replaces: int | None, writer: ShardWriter) -> None:
        vector = self.vectors(origin.position)
        writer.add(Row(entry, id, origin.content, origin.width, origin.height, vector, replaces))

    # -- vectors -------------------------------------------------------------------------

    def _take_block(self, block: Block, first: int, writer: ShardWriter, advance: Advance) -> None:
        """Check and write vectors that exist already, of which `first` is the number of the first row in its listing.

        New rows are written together, known ones one by one.
        """
        named, unchanged = self.catalogue.look_up(block)
        where = self.placed.get(block.source)
        positions = named if where is None else where.of(first, named)
        unchanged &= positions == named
        advance(len(block) - int(unchanged.sum()))
        if unchanged.all() and not self.repeated:
            self.summary.unchanged += len(block)
            return
        unit, wrong = unit_rows(block.vectors, writer.dims)
        wrong |= block.wrong
        contents = contents_of(block.vectors)
        new: list[int] = []
        for row, (key, position, same) in enumerate(
            zip(block.keys.tolist(), positions.tolist(), unchanged.tolist(), strict=True)
        ):
            if self._is_repeated(key):
                writer.fail(Failure(block.source, block.paths[row], SAME_NAME))
            elif same:
                self.summary.unchanged += 1
            elif row in wrong:
                writer.fail(Failure(block.source, block.paths[row], wrong[row]))
            elif position < 0:
                new.append(row)
            else:
                moved = position != named[row]
                known = self.catalogue.at(position)
                self._take_known(block.entry(row), known, contents[row], unit[row], writer, moved=moved)
        if new:
            self.summary.added += len(new)
            writer.extend(block, new, self.ids.take(len(new)), [contents[row] for row in new], unit[new])

    def _take_known(
        self, entry: Entry, known: Known, content: str, vector: FloatArray, writer: ShardWriter, *, moved: bool
    ) -> None:
        if moved:
            self.moved.add(known.position)
        if known.content != content:
            self.summary.changed += 1
            writer.add(Row(with_set(entry, known, self.snapshot), known.id, content, 0, 0, vector, known.position))
        elif moved:
            self.summary.moved += 1
            writer.relabel(with_set(entry, known, self.snapshot), known)
        elif known.meta_key != entry.meta_key:
            self._relabel(entry, known, writer)
        else:
            self.summary.unchanged += 1
