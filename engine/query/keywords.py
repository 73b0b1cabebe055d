"""Words looked for in what is said of items: which rows have them, and how well by BM25.

Scores are those of Robertson & Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond" (2009), in Lucene's
variant, over the live rows: what was removed counts no more, and what was added a moment ago does. They depend on what
is in a version and not on how it came there.
"""

from __future__ import annotations

import re
import unicodedata
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, reduce
from itertools import takewhile

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from engine.collection.manifest import Words
from engine.collection.postings import Counts, Postings, Rows, item_tables, open_postings, postings_of
from engine.collection.snapshot import Snapshot
from engine.collection.tokens import RULES, UNSPACED, cut_texts, stemmer
from indexers import checks
from indexers.errors import CorruptCollection, InvalidInput
from indexers.mask import Mask, in_both
from indexers.threads import new_lock
from indexers.vectors import IdArray

K1, B = 1.2, 0.75
"""Lucene's: how soon a word that is repeated counts no more, and how much long texts count less."""

LONGEST_QUERY, MOST_UNITS = 1 << 14, 256
"""Letters of a query, and words and phrases of it."""

LEVELS = (256, 4096, 65536)
"""So many rows are put in order, one after the other, and then all."""

FREQUENT, MOST_KEPT = 4096, 1 << 22
"""A word of so many rows is kept as it was found, until those that are kept have so many rows: 10 bytes each."""

SOME = 8192
"""Rows whose scores are looked at to know what the best ones reach at least."""

ROUNDED = 1 - 1e-5
"""Sums in single precision are off by less than this share."""

Scored = NDArray[np.float64]

_PIECES = re.compile(r'"([^"]*)"?(\*?)|([^\s"]+)')
_JOINING = "_.'’ʼ＇"
"""What stands in one word, and in several that belong together: `don't`, `IMG_2031.jpg`."""


@dataclass(frozen=True)
class Unit:
    """What is looked for as one: a word, or words that follow each other.

    Attributes:
        words: as they are known.
        opens: whether the last one is the beginning of a word.
    """

    words: tuple[str, ...]
    opens: bool = False

    def __str__(self) -> str:
        text = f"{' '.join(self.words)}{'*' if self.opens else ''}"
        return f'"{text}"' if len(self.words) > 1 else text


def read_words(text: str, stem: str | None = None) -> dict[Unit, int]:
    """Return what a query for words asks for, and how often.

    Args:
        text: words; `"words in quotes"` follow each other, `begin*` is any word that begins so. `IMG_2031.jpg` is
            looked for as one; of scripts without blanks, every two letters are.
        stem: the language whose stems are known instead of words.

    Raises:
        InvalidInput: it is no text, or has no word, or too many.

    Example:
        >>> from engine.query.keywords import read_words
        >>> [str(unit) for unit in read_words('red "mountain bike" IMG_20*')]
        ['red', '"mountain bike"', '"img 20*"']
    """
    text = checks.text("words", text)
    if len(text) > LONGEST_QUERY or any("\ud800" <= letter <= "\udfff" for letter in text):
        raise InvalidInput(f"words: expected a text of Unicode of up to {LONGEST_QUERY:,} letters")
    found: dict[Unit, int] = {}
    parts: list[tuple[str, bool]] = []
    for quoted, opens, chunk in _PIECES.findall(text):
        parts += [(part, True) for part in _parts(chunk)] if chunk else [(quoted + opens, False)]
    cut = cut_texts([part.rstrip("*") for part, _ in parts])
    for (part, may_divide), words in zip(parts, cut, strict=True):
        for unit in _units(words, part.endswith("*"), may_divide, stem):
            found[unit] = found.get(unit, 0) + 1
    if not found:
        raise InvalidInput(f'words: {checks.brief(text)} has no word in it; an example is: red "mountain bike" IMG_20*')
    if len(found) > MOST_UNITS:
        raise InvalidInput(f"words: {len(found):,} of them are more than the {MOST_UNITS} that are looked for at once")
    return found


def _parts(chunk: str) -> list[str]:
    """Cut what has no blanks in it at what is neither in a word nor joins some; a star ends a part."""
    return "".join("* " if one == "*" else one if _is_inside(one) else " " for one in chunk).split()


def _is_inside(letter: str) -> bool:
    return letter.isalnum() or letter in _JOINING or (not letter.isascii() and unicodedata.category(letter)[0] == "M")


def _units(words: list[str], opens: bool, may_divide: bool, stem: str | None) -> list[Unit]:
    if not words:
        return []
    stems = stemmer(stem)
    known = [*stems(words)]
    if opens:  # what is known of a word that begins so begins as both do: of `berry*` berr, of "berries" berri
        alike = takewhile(lambda two: two[0] == two[1], zip(words[-1], known[-1], strict=False))
        known[-1] = "".join(letter for letter, _ in alike) or words[-1]
    if may_divide and len(words) > 2 and not opens and all(map(_is_unspaced, words)):
        return [Unit(tuple(known[at : at + 2])) for at in range(len(known) - 1)]
    return [Unit(tuple(known), opens)]


def _is_unspaced(word: str) -> bool:
    return not word.isascii() and bool(pc.match_substring_regex(pa.scalar(word), pattern=f"^[{UNSPACED}]").as_py())


@dataclass(frozen=True)
class Found:
    """The live rows that have a unit.

    Attributes:
        unit: what was looked for.
        rows: ascending, uint32 [n].
        counts: how often each has it.
        shares: what share of the weight each gets for that, float32 [n].
        weight: how often it is asked for, times what it is worth: log(1 + (N − n + ½) / (n + ½)).
        most: what a row gets at most.
    """

    unit: Unit
    rows: Rows
    counts: Counts
    shares: NDArray[np.float32]
    weight: float
    most: float

    def times(self, number: int) -> Found:
        """Return what it is where it is asked for so often."""
        return replace(self, weight=number * self.weight, most=number * self.most)


class Keywords:
    """The words of one version; safe to use from many threads.

    Args:
        snapshot: the version.
        before: of another version, whose file is kept open where it is the same.

    Attributes:
        version: its number.
    """

    def __init__(self, snapshot: Snapshot, before: Keywords | None = None) -> None:
        self.version = snapshot.manifest.version
        self._built: Postings | None = None
        if before is not None and before._said.covering == snapshot.manifest.words.covering:
            self._built = before._built
        self._snapshot = snapshot
        self._said: Words = snapshot.manifest.words
        self._lock = new_lock()
        self._kept: OrderedDict[Unit, Found] = OrderedDict()
        self._kept_rows = 0

    @cached_property
    def _segments(self) -> list[tuple[int, Postings]]:
        """The number of the first row, and the words of rows from there on: what is built, and what came since."""
        manifest, root, found = self._snapshot.manifest, self._snapshot.root, []
        covering, covered = self._said.covering, 0
        if covering is not None and self._said.rules == RULES:
            covered = covering.shards
            if self._built is None:
                path = self._snapshot.open_covering(covering)
                self._built = open_postings(path, manifest.rows_in(covering.span))
            found.append((0, self._built))
        if manifest.items[covered:]:
            self._snapshot.ensure([*manifest.items[covered:]])
            tail = postings_of(item_tables(root, manifest.items[covered:], self._said), self._said)
            found.append((manifest.rows_in(range(covered)), tail))
        return found

    @cached_property
    def _norms(self) -> NDArray[np.float32]:
        """Of each row what BM25 divides by beside the count, float32 [rows]."""
        parts = [np.empty(0, np.uint32), *(postings.lengths for _, postings in self._segments)]
        lengths, live = np.concatenate(parts).astype(np.float64), self._snapshot.live
        mean = (lengths if live.count == len(lengths) else lengths[live.allowed]).sum() / max(1, live.count)
        norms: NDArray[np.float32] = (K1 * (1 - B + B * lengths / max(mean, 1e-9))).astype(np.float32)
        return norms

    def look_up(self, text: str) -> list[Found]:
        """Return the rows that have each word and phrase of a query, the rarest first.

        Raises:
            InvalidInput: it has no word.
            CorruptCollection: the postings lead outside of the rows.
        """
        wanted = read_words(text, self._said.stem)
        with self._lock:  # opened once, whoever comes first
            found = [self._find(unit).times(times) for unit, times in wanted.items()]
        return sorted((one for one in found if len(one.rows)), key=lambda one: -one.weight)

    def told(self, text: str) -> list[str]:
        """Say in how many rows each word and phrase of a query comes, and what a row gets for it at most."""
        with self._lock:
            found = [(unit, self._find(unit)) for unit in read_words(text, self._said.stem)]
        return [
            f"words: {unit} is in {len(one.rows):,} items, and counts {one.most:.2f} at most" for unit, one in found
        ]

    def _find(self, unit: Unit) -> Found:
        """Return the live rows that have a unit; those of frequent ones are kept."""
        if unit in self._kept:
            self._kept.move_to_end(unit)
            return self._kept[unit]
        live = self._snapshot.live
        rows, counts = _together([(first, *_rows(postings, unit)) for first, postings in self._segments])
        if len(rows) and rows.max() >= live.rows:
            raise CorruptCollection(f"{self._snapshot.root} has words of rows that are not there")
        if live.count < live.rows:
            alive = live.allowed[rows]
            rows, counts = rows[alive], counts[alive]
        often = counts.astype(np.float32)
        shares = often / (often + self._norms[rows])
        worth = float(np.log1p((live.count - len(rows) + 0.5) / (len(rows) + 0.5)))
        found = Found(unit, rows, counts, shares, worth, worth * float(shares.max(initial=0)) / ROUNDED)
        if FREQUENT <= len(rows) <= MOST_KEPT:
            self._kept[unit] = found
            self._kept_rows += len(rows)
            while self._kept_rows > MOST_KEPT:
                self._kept_rows -= len(self._kept.popitem(last=False)[1].rows)
        return found

    def scores(self, found: Sequence[Found], rows: IdArray) -> Scored:
        """Return the BM25 of rows, float64 [n]; 0 of those that have none of the words."""
        total = np.zeros(len(rows))
        for one in found:
            at, there = _where(one, rows)
            count = one.counts[at].astype(np.float64)
            total[there] += one.weight * count / (count + self._norms[rows[there]])
        return total

    def best(self, found: Sequence[Found], k: int, mask: Mask | None = None) -> tuple[IdArray, Scored]:
        """Return the k best rows and their BM25, best first and of equal ones the lower first; fewer if fewer have any.

        Words are taken from the rarest on; when what is left can lift no further row among the best, it is only
        looked up for those that can still get there (MaxScore: Turtle & Flood 1995).
        """
        total = np.zeros(self._snapshot.live.rows, np.float32)
        left = [*np.cumsum([one.most for one in found][::-1])[::-1].tolist(), 0.0]
        touched: list[Rows] = []
        least, number = -np.inf, 0
        for number, one in enumerate(found):
            if left[number] < least:
                break
            rows, shares = _allowed(one, mask)
            worth = np.float32(one.weight) * shares
            if number:
                before = total[rows]
                worth += before
                touched.append(rows[before == 0])
            else:
                touched.append(rows)
            total[rows] = worth
            least = max(least, _kth_of_some(total, touched, k))
        else:
            number = len(found)
        near = _reaching(total, touched, max(least - left[number], np.finfo(np.float32).tiny))
        reached = total[near]
        for more, rest in zip([None, *found[number:]], left[number:], strict=True):
            if more is not None:
                at, there = _where(more, near)
                reached[there] += np.float32(more.weight) * more.shares[at]
            if len(near) > k:
                kth = float(np.partition(reached, len(near) - k)[len(near) - k]) * ROUNDED
                kept = reached >= kth - rest
                near, reached = near[kept], reached[kept]
        scores = self.scores(found, near)
        order = np.lexsort((near, -scores))[:k]
        return near[order], scores[order]

    def in_order(self, found: Sequence[Found], mask: Mask | None = None) -> Iterator[tuple[int, float]]:
        """Yield all rows that have any of the words, with their BM25, best first."""
        done = 0
        for k in (*LEVELS, self._snapshot.live.rows):
            rows, scores = self.best(found, k, mask)
            yield from zip(rows[done:].tolist(), scores[done:].tolist(), strict=True)
            if len(rows) < k:
                return
            done = k


def _together(parts: Sequence[tuple[int, Rows, Counts]]) -> tuple[Rows, Counts]:
    """Put the rows of segments one behind the other."""
    if len(parts) == 1 and parts[0][0] == 0:
        return parts[0][1:]
    rows = [np.empty(0, np.uint32), *(at + np.uint32(first) for first, at, _ in parts)]
    return np.concatenate(rows), np.concatenate([np.empty(0, np.uint16), *(count for *_, count in parts)])


def _where(one: Found, rows: IdArray) -> tuple[IdArray, IdArray]:
    """Return where rows are among those that have a unit, and which of them are."""
    at = np.minimum(one.rows.searchsorted(rows.astype(np.uint32)), len(one.rows) - 1)
    there = np.flatnonzero(one.rows[at] == rows)
    return at[there], there


def _kth_of_some(total: NDArray[np.float32], touched: Sequence[Rows], k: int) -> float:
    """Return a score that at least k rows reach: the k-th of some of them, those with the rarest words."""
    some: list[Rows] = []
    for rows in touched:
        some.append(rows[: max(SOME, k)])
        if sum(map(len, some)) >= max(SOME, k):
            break
    reached = total[np.concatenate(some)]
    if len(reached) < k:
        return -np.inf
    return float(np.partition(reached, len(reached) - k)[len(reached) - k]) * ROUNDED


def _reaching(total: NDArray[np.float32], touched: Sequence[Rows], least: float) -> IdArray:
    """Return the rows with at least so much: all are looked at where most have any, in the order they lie in."""
    if sum(map(len, touched)) * 8 > len(total):
        return np.flatnonzero(total >= np.float32(least))
    rows: IdArray = np.concatenate([np.empty(0, np.uint32), *touched]).astype(np.int64)
    return rows[total[rows] >= np.float32(least)]


def _allowed(one: Found, mask: Mask | None) -> tuple[Rows, NDArray[np.float32]]:
    if mask is None:
        return one.rows, one.shares
    kept = mask.allowed[one.rows]
    return one.rows[kept], one.shares[kept]


def _rows(postings: Postings, unit: Unit) -> tuple[Rows, Counts]:
    """Return the rows that have a unit, ascending, and how often."""
    if len(unit.words) == 1 and not unit.opens:
        number = postings.find(unit.words[0])
        return postings.rows_of(number) if number is not None else (np.empty(0, np.uint32), np.empty(0, np.uint16))
    places = reduce(_followed, _each(postings, unit))
    rows, counts = np.unique(places >> 32, return_counts=True)
    return rows.astype(np.uint32), np.minimum(counts, np.iinfo(np.uint16).max).astype(np.uint16)


def _each(postings: Postings, unit: Unit) -> Iterator[NDArray[np.int64]]:
    """Yield of each word where it comes: row and place in one number, ascending."""
    for at, word in enumerate(unit.words):
        if unit.opens and at == len(unit.words) - 1:
            found = [_places(postings, number) for number in postings.beginning(word)]
            yield np.sort(np.concatenate([np.empty(0, np.int64), *found]))
        else:
            number = postings.find(word)
            yield np.empty(0, np.int64) if number is None else _places(postings, number)


def _places(postings: Postings, number: int) -> NDArray[np.int64]:
    rows, counts = postings.rows_of(number)
    places = postings.places_of(number)
    if int(counts.sum(dtype=np.int64)) != len(places):
        raise CorruptCollection("the places of a word are not as many as are counted; see `nestvec verify`")
    return (np.repeat(rows.astype(np.int64), counts) << 32) | places


def _followed(before: NDArray[np.int64], word: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return where a word comes right behind a place of those before."""
    return in_both(before + 1, word)
