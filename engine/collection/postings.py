"""The words of items, by row number: where each word comes, how often, and at which places (an inverted index).

A postings file is Arrow, mapped as it lies: one batch of one row, whose columns are lists. What is read of it are the
lists of the words that are looked for: of millions of captions a question touches some pages.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from engine.collection import columntypes
from engine.collection.manifest import Words
from engine.collection.shards import CAPTION, META, read_table
from engine.collection.tokens import Stem, stemmer, words_of
from engine.storage import layout, verified
from engine.storage.layout import FileRef
from engine.storage.messages import map_batches
from engine.storage.place import new_file, written
from indexers.errors import CorruptCollection

PATH = "path"
USUAL = (CAPTION, PATH, "title", "description", "keywords", "tags")
"""Columns whose words are known where nobody says which: what there is of them and is made of texts. Of paths those of
pictures: what vectors are called is a number more often than not, and another one for each of millions."""

WIDTH = "width"

MOST_PLACES = 1 << 20
"""Words of one item that count."""

APART = 16
"""Places left free between the texts of an item, so that no phrase begins in one and ends in another."""

BLOCK_ROWS = 1 << 16

Rows = NDArray[np.uint32]
Counts = NDArray[np.uint16]
MOST_COUNT = int(np.iinfo(np.uint16).max)

SCHEMA = pa.schema(
    [
        pa.field("words", pa.large_list(pa.large_string()), nullable=False),
        pa.field("starts", pa.large_list(pa.int64()), nullable=False),
        pa.field("rows", pa.large_list(pa.uint32()), nullable=False),
        pa.field("counts", pa.large_list(pa.uint16()), nullable=False),
        pa.field("place_starts", pa.large_list(pa.int64()), nullable=False),
        pa.field("places", pa.large_list(pa.uint32()), nullable=False),
        pa.field("lengths", pa.large_list(pa.uint32()), nullable=False),
    ]
)


@dataclass(frozen=True)
class Postings:
    """The words of consecutive rows.

    Attributes:
        words: all there are, ascending.
        starts: of each word, where its rows begin, int64 [words + 1].
        rows: the rows of each word, ascending, counted from the first of these.
        counts: how often it comes in each.
        place_starts: of each word, where its places begin, int64 [words + 1].
        places: the places of each word, row by row, ascending.
        lengths: words of each row, uint32 [rows].
    """

    words: pa.LargeStringArray
    starts: NDArray[np.int64]
    rows: Rows
    counts: Counts
    place_starts: NDArray[np.int64]
    places: NDArray[np.uint32]
    lengths: NDArray[np.uint32]

    @cached_property
    def total(self) -> int:
        """Words of all rows."""
        return int(self.lengths.sum(dtype=np.int64))

    def find(self, word: str) -> int | None:
        """Return the number of a word, or None."""
        at = self._from(word)
        return at if at < len(self.words) and self.words[at].as_py() == word else None

    def beginning(self, start: str) -> range:
        """Return the numbers of the words that begin as one does."""
        # No word has a letter beyond the last one there is.
        return range(self._from(start), self._from(start + chr(0x10FFFF)))

    def _from(self, word: str) -> int:
        return bisect_left(range(len(self.words)), word, key=lambda at: self.words[at].as_py())

    def rows_of(self, number: int) -> tuple[Rows, Counts]:
        """Return the rows a word comes in, and how often."""
        some = slice(int(self.starts[number]), int(self.starts[number + 1]))
        return self.rows[some], self.counts[some]

    def places_of(self, number: int) -> NDArray[np.uint32]:
        """Return its places, row by row."""
        return self.places[int(self.place_starts[number]) : int(self.place_starts[number + 1])]


def columns_of(words: Words, names: Iterable[str]) -> list[str]:
    """Return the columns of item shards whose words are known, as the shards call them, of those there are."""
    wanted = words.columns or USUAL
    known = [name if name in (CAPTION, PATH) else META + name for name in wanted]
    there = set(names)
    return [name for name in known if name in there]


def postings_of(tables: Iterable[pa.Table], words: Words) -> Postings:
    """Find the words of item tables, which follow each other."""
    stem, gathered = stemmer(words.stem), _Gathered()
    for table in tables:
        columns = columns_of(words, table.column_names)
        if not words.columns and WIDTH in table.column_names:
            table = _of_pictures(table)
        for start in range(0, len(table), BLOCK_ROWS):
            block = table.select(columns).slice(start, BLOCK_ROWS).combine_chunks()
            gathered.add(_block(block, len(table.slice(start, BLOCK_ROWS)), stem))
    return gathered.postings()


def _of_pictures(table: pa.Table) -> pa.Table:
    """Return items without the paths of those that are vectors."""
    if PATH not in table.column_names:
        return table
    at, paths = table.schema.get_field_index(PATH), table.column(PATH)
    kept = pc.if_else(pc.greater(table.column(WIDTH), 0), paths, pa.scalar(None, paths.type))
    return table.set_column(at, pa.field(PATH, paths.type), kept)


@dataclass(frozen=True)
class _Block:
    """The words of some rows, each word once: as in `Postings`, and words in no order."""

    words: list[str]
    sizes: NDArray[np.int64]
    rows: Rows
    counts: Counts
    place_sizes: NDArray[np.int64]
    places: NDArray[np.uint32]
    lengths: NDArray[np.uint32]


def _block(table: pa.Table, rows: int, stem: Stem) -> _Block:
    """Cut the texts of a table of some columns into words."""
    words, numbers, places = [], [], []
    lengths, ends = np.zeros(rows, np.int64), np.zeros(rows, np.int64)
    for column in table.columns:
        texts, at = _texts(column)
        found, text = words_of(texts)
        row = at[text]
        count = np.bincount(row, minlength=rows)
        place = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count) + ends[row]
        words.append(found.cast(pa.large_string()))
        numbers.append(row)
        places.append(place)
        lengths += count
        ends += np.where(count, count + APART, 0)
    if not words:
        return _sorted([], np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.int64), lengths)
    coded = pa.chunked_array(words).combine_chunks().dictionary_encode()
    vocabulary, known = _distinct(stem(coded.dictionary.to_pylist()))
    word = known[coded.indices.to_numpy().astype(np.int64)] if len(coded) else np.empty(0, np.int64)
    return _sorted(vocabulary, word, np.concatenate(numbers), np.concatenate(places), lengths)


def _distinct(words: Sequence[str]) -> tuple[list[str], NDArray[np.int64]]:
    """Return words once each, and of each word given its number among those."""
    numbers: dict[str, int] = {}
    known = [numbers.setdefault(word, len(numbers)) for word in words]
    return list(numbers), np.array(known, np.int64)


def has_words(kind: pa.DataType) -> bool:
    """Whether a column of a type is of texts, or of lists of texts."""
    return columntypes.is_text(kind) or (columntypes.is_list(kind) and columntypes.is_text(kind.value_type))


def _texts(column: pa.ChunkedArray) -> tuple[pa.Array, NDArray[np.int64]]:
    """Return the texts of a column, of lists all of theirs, and of each its row; none of a column of another kind."""
    array = column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
    if columntypes.is_text(array.type):
        return array, np.arange(len(array))
    if has_words(array.type):
        return array.flatten(), array.value_parent_indices().to_numpy().astype(np.int64)
    return pa.array([], pa.large_string()), np.empty(0, np.int64)


def _sorted(
    vocabulary: list[str],
    word: NDArray[np.int64],
    row: NDArray[np.int64],
    place: NDArray[np.int64],
    lengths: NDArray[np.int64],
) -> _Block:
    """Put the places of words together by word and row."""
    kept = place < MOST_PLACES
    if not kept.all():
        word, row, place = word[kept], row[kept], place[kept]
    order = np.argsort((word << 36) | (row << 20) | place)
    word, row, place = word[order], row[order], place[order]
    first = np.flatnonzero(np.diff((word << 16) | row, prepend=-1))
    counts = np.diff(first, append=len(word))
    if len(counts) and counts.max() > MOST_COUNT:
        kept = np.arange(len(word)) - np.repeat(first, counts) < MOST_COUNT
        return _sorted(vocabulary, word[kept], row[kept], place[kept], lengths)
    return _Block(
        vocabulary,
        np.bincount(word[first], minlength=len(vocabulary)),
        row[first].astype(np.uint32),
        counts.astype(np.uint16),
        np.bincount(word, minlength=len(vocabulary)),
        place.astype(np.uint32),
        lengths.astype(np.uint32),
    )


class _Gathered:
    """The words of blocks of rows, until all are there."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._blocks: list[tuple[NDArray[np.int64], _Block]] = []

    def add(self, block: _Block) -> None:
        """Take those of further rows."""
        numbers = [self._numbers.setdefault(word, len(self._numbers)) for word in block.words]
        self._blocks.append((np.array(numbers, np.int64), block))

    def postings(self) -> Postings:
        """Put all together."""
        words = sorted(self._numbers)
        rank = np.empty(len(words), np.int64)
        rank[[self._numbers[word] for word in words]] = np.arange(len(words))
        blocks = [(rank[numbers], block) for numbers, block in self._blocks]
        starts = _starts(len(words), [(ranks, block.sizes) for ranks, block in blocks])
        place_starts = _starts(len(words), [(ranks, block.place_sizes) for ranks, block in blocks])
        rows, counts = np.empty(starts[-1], np.uint32), np.empty(starts[-1], np.uint16)
        places = np.empty(place_starts[-1], np.uint32)
        next_row, next_place, first = starts[:-1].copy(), place_starts[:-1].copy(), 0
        for ranks, block in blocks:
            at = _spread(next_row, ranks, block.sizes)
            rows[at], counts[at] = block.rows + np.uint32(first), block.counts
            places[_spread(next_place, ranks, block.place_sizes)] = block.places
            first += len(block.lengths)
        lengths = [np.empty(0, np.uint32), *(block.lengths for _, block in blocks)]
        return Postings(
            pa.array(words, pa.large_string()), starts, rows, counts, place_starts, places, np.concatenate(lengths)
        )


def _starts(words: int, sizes: Iterable[tuple[NDArray[np.int64], NDArray[np.int64]]]) -> NDArray[np.int64]:
    total = np.zeros(words + 1, np.int64)
    for ranks, some in sizes:
        total[ranks + 1] += some  # a block has each word once
    return np.cumsum(total)


def _spread(next_free: NDArray[np.int64], ranks: NDArray[np.int64], sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return where the entries of a block belong, word by word, and move on what is free behind them."""
    begins = np.cumsum(sizes) - sizes
    at = np.repeat(next_free[ranks] - begins, sizes) + np.arange(int(sizes.sum()))
    next_free[ranks] += sizes
    return at


# -- the file ------------------------------------------------------------------------------------


def item_tables(root: Path, shards: Sequence[FileRef], words: Words) -> Iterator[pa.Table]:
    """Yield of each item shard the columns whose words are wanted."""
    columns = columns_of(words, [CAPTION, PATH, *(META + name for name in words.columns or USUAL)])
    for ref in shards:
        yield read_table(root, ref, [*columns, WIDTH])


def save_postings(root: Path, shards: Sequence[FileRef], words: Words) -> FileRef:
    """Write the words of item shards."""
    verified.Verified(root).ensure(shards)
    return write_postings(root, postings_of(item_tables(root, shards, words), words))


def write_postings(root: Path, found: Postings) -> FileRef:
    """Write postings as a file of a collection; see `new_file`."""
    values = [found.words, *(pa.array(getattr(found, name)) for name in SCHEMA.names[1:])]
    lists = [
        pa.LargeListArray.from_arrays(pa.array([0, len(one)], pa.int64()), one, type=field.type)
        for one, field in zip(values, SCHEMA, strict=True)
    ]
    batch = pa.record_batch(lists, schema=SCHEMA)
    with (
        new_file(root, layout.WORDS, ".arrow", batch.nbytes) as new,
        pa.OSFile(str(new.temporary), "wb") as sink,
        pa.ipc.new_file(sink, SCHEMA) as writer,
    ):
        writer.write_batch(batch)
        new.rows = len(found.lengths)
    return written(new)


def open_postings(path: Path, rows: int) -> Postings:
    """Map a postings file.

    Raises:
        CorruptCollection: it cannot be read, is of another number of rows, or leads outside of itself.
    """
    try:
        [batch] = map_batches(path, lambda schema: _check_schema(schema, path))
        batch.validate()
        if batch.num_rows != 1 or any(column.null_count for column in batch.columns):
            raise pa.ArrowInvalid("it has other than one row of lists")
        values = [column.flatten() for column in batch.columns]
        if any(one.null_count for one in values):
            raise pa.ArrowInvalid("values are missing")
        values[0].validate(full=True)
        found = Postings(values[0], *(one.to_numpy() for one in values[1:]))
        _check(found, rows)
        return found
    except (pa.ArrowException, OSError, ValueError) as error:
        raise CorruptCollection(f"{path} cannot be read: {error}; see `nestvec verify`") from error


def _check_schema(found: pa.Schema, path: Path) -> None:
    if not found.equals(SCHEMA):
        raise CorruptCollection(f"{path}: its columns are not those of words")


def _check(found: Postings, rows: int) -> None:
    """Refuse what leads outside of the rows; what is inside is read as it is."""
    for starts, entries in ((found.starts, len(found.rows)), (found.place_starts, len(found.places))):
        if len(starts) != len(found.words) + 1 or starts[0] or starts[-1] != entries or (np.diff(starts) < 0).any():
            raise pa.ArrowInvalid("the rows of its words are not where it says")
    if len(found.lengths) != rows or len(found.counts) != len(found.rows):
        raise pa.ArrowInvalid(f"expected {rows} rows, found {len(found.lengths)}")
