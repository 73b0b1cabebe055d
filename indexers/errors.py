"""Every error nestvec raises on purpose.

A message says what was expected, what was found, and what to do::

    NestvecError
    ├── InvalidInput              an argument the caller can correct
    │   ├── InvalidVectors        wrong shape, dtype or dimension; NaN, infinite or zero rows
    │   ├── InvalidSpec           an index, plan or encoder spec that does not parse
    │   ├── InvalidFilter         a filter that does not parse, or asks a column what it cannot answer
    │   └── NotEnoughMemory       an index that would take more memory to build than there is
    ├── SourceError               a folder, table or vector file that cannot be read or joined
    │   └── PictureError          one picture that cannot be decoded (a row in the failures table)
    ├── EncoderError
    │   ├── WeightsMissing        weights that are not on this machine and could not be fetched
    │   ├── EncoderNotNamed       files of this machine that a collection names, and nobody here has named
    │   ├── ModalityError         a text asked of an image-only encoder, or the reverse
    │   ├── EncoderMismatch       vectors of two encoders would be mixed
    │   └── HeadError             a head file that is damaged, or is no head
    ├── CollectionError
    │   ├── NotACollection        the directory is missing, or is something else
    │   ├── UnsupportedFormat     written by a newer format version than this one reads
    │   ├── CorruptCollection     a file is missing, cut short, or has the wrong hash
    │   ├── CommitConflict        another writer changed what this one depended on, or is at work
    │   ├── DiskFull              no space left; nothing was changed
    │   └── ItemNotFound          no live item has that id or path
    └── DependencyMissing         an optional package is not installed, or two conflict
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

WIDTH_BEFORE, WIDTH_SHOWN = 60, 100
"""Characters of a filter before the place an error points at, and in all."""


class NestvecError(Exception):
    """Root of the tree: catch this to catch everything nestvec raises on purpose.

    Example:
        >>> try:
        ...     engine.Collection.open("nowhere.nest")
        ... except engine.NestvecError as error:
        ...     print(type(error).__name__)
        NotACollection
    """


class InvalidInput(NestvecError, ValueError):
    """An argument the caller can correct.

    Example:
        >>> engine.Collection.open("photos.nest").search("a red bicycle", k=0)
        Traceback (most recent call last):
            ...
        indexers.errors.InvalidInput: k must be at least 1, found 0
    """


class InvalidVectors(InvalidInput):
    """Vectors of the wrong shape, dtype or dimension, or with NaN, infinite or zero rows.

    Example:
        >>> engine.Collection.open("vectors.nest").search(np.zeros(32))
        Traceback (most recent call last):
            ...
        indexers.errors.InvalidVectors: queries: row 0 has length zero and so no direction
    """


class InvalidSpec(InvalidInput):
    """An index, plan or encoder spec that does not parse or cannot be built.

    Example:
        >>> engine.SearchPlan.parse("flat@64")
        Traceback (most recent call last):
            ...
        indexers.errors.InvalidSpec: plan flat@64: at least one stage is needed, such as 100@512
    """


class InvalidFilter(InvalidInput):
    """A filter that does not parse, or asks a column what it cannot answer; where it was written, that is pointed at.

    Example:
        >>> engine.Filter.parse("stars => 4")
        Traceback (most recent call last):
            ...
        indexers.errors.InvalidFilter: expected an expression such as year >= 2019 AND camera LIKE 'Pixel%'
            stars => 4
                  ^^

    Attributes:
        at: the first and the last character that it is about, in the text of the filter; None where it had none.
    """

    def __init__(self, message: str, at: tuple[int, int] | None = None) -> None:
        super().__init__(message)
        self.at = at

    def within(self, text: str) -> InvalidFilter:
        """Return the error with the text it is about below it, and a caret under the place."""
        if self.at is None or "\n" in str(self):
            return self
        first, last = self.at
        start = text.rfind("\n", 0, first) + 1
        line = text[start:].partition("\n")[0]
        left = max(0, first - start - WIDTH_BEFORE)
        shown = line[left : left + WIDTH_SHOWN]
        under = " " * (first - start - left) + "^" * max(1, min(last + 1, start + left + WIDTH_SHOWN) - first)
        return InvalidFilter(f"{self}\n    {shown}\n    {under}", self.at)


class NotEnoughMemory(InvalidInput):
    """An index that would take more memory to build than there is; nothing was begun.

    Example:
        >>> import os
        >>> os.environ["NESTVEC_MEMORY"] = "1MiB"
        >>> engine.Collection.open("vectors.nest").build(["hnsw@32"])
        Traceback (most recent call last):
            ...
        indexers.errors.NotEnoughMemory: building hnsw@32 over 1,200 rows needs ... MiB of memory, and ... are left ...
    """


class SourceError(NestvecError):
    """A folder, table or vector file that cannot be read or joined.

    Example:
        >>> engine.Collection.open("photos.nest").index("HOLIDAYS")
        Traceback (most recent call last):
            ...
        indexers.errors.SourceError: HOLIDAYS does not exist
    """


class PictureError(SourceError):
    """One picture that cannot be decoded; costs one row in the failures table.

    Example:
        >>> engine.Collection.open("photos.nest").similar("captions.csv")
        Traceback (most recent call last):
            ...
        indexers.errors.PictureError: captions.csv: not a picture in a known format (it begins with the bytes 66 69 ...)
    """


class EncoderError(NestvecError):
    """An encoder that cannot be loaded or cannot do what was asked of it.

    Example:
        >>> try:
        ...     engine.Collection.open("vectors.nest").search("a red bicycle")
        ... except engine.EncoderError as error:
        ...     print(type(error).__name__)
        ModalityError
    """


class WeightsMissing(EncoderError):
    """Weights that are not on this machine and could not be fetched.

    Example:
        >>> engine.Collection.create("new.nest", encoder="clip:ViT-B-32/./missing.safetensors")
        Traceback (most recent call last):
            ...
        indexers.errors.WeightsMissing: ...: expected a file at missing.safetensors, found nothing. Correct the path ...
    """


class EncoderNotNamed(EncoderError):
    """A collection names files of this machine for its encoder, and nobody has named them here.

    Example:
        >>> engine.Collection.open("elsewhere.nest").search("a red bicycle")
        Traceback (most recent call last):
            ...
        indexers.errors.EncoderNotNamed: the collection asks for the encoder 'clip:ViT-B-32/./weights.safetensors'. ...
    """


class ModalityError(EncoderError):
    """A text was asked of an image-only encoder, or a picture of a text-only one.

    Example:
        >>> engine.Collection.open("vectors.nest").search("a red bicycle")
        Traceback (most recent call last):
            ...
        indexers.errors.ModalityError: encoder precomputed takes no inputs, only vectors that already exist, and ...
    """


class EncoderMismatch(EncoderError):
    """Vectors made by two different encoders would be compared or mixed.

    Example:
        >>> engine.Collection.open("vectors.nest").apply_head("nested.safetensors")
        Traceback (most recent call last):
            ...
        indexers.errors.EncoderMismatch: head nested.safetensors belongs to bundled:..., and would be given vectors ...
    """


class HeadError(EncoderError):
    """A head file that is damaged, is no head, or cannot be written.

    Example:
        >>> engine.load_head("captions.csv")
        Traceback (most recent call last):
            ...
        indexers.errors.HeadError: head captions.csv is damaged or no safetensors file ...
    """


class CollectionError(NestvecError):
    """Something about a collection directory.

    Example:
        >>> engine.Collection.create("photos.nest")
        Traceback (most recent call last):
            ...
        indexers.errors.CollectionError: photos.nest already exists and is not empty; choose another name, ...
    """


class NotACollection(CollectionError):
    """The directory does not exist, or is something else.

    Example:
        >>> engine.Collection.open("PHOTOS")
        Traceback (most recent call last):
            ...
        indexers.errors.NotACollection: PHOTOS is not a nestvec collection: ...
    """


class UnsupportedFormat(CollectionError):
    """The collection was written by a newer format version than this one reads.

    Example:
        >>> engine.Collection.open("newer.nest")
        Traceback (most recent call last):
            ...
        indexers.errors.UnsupportedFormat: newer.nest/versions/0000000001.json is of format 99, and this nestvec ...
    """


class CorruptCollection(CollectionError):
    """A file of the collection is missing, cut short, or has the wrong hash.

    Example:
        >>> import os
        >>> vectors = engine.Collection.open("vectors.nest")
        >>> os.truncate(f"vectors.nest/{vectors.space.vectors.file.path}", 10)
        >>> vectors.search(np.ones(32))
        Traceback (most recent call last):
            ...
        indexers.errors.CorruptCollection: vectors.nest/spaces/main/vectors/....npy: expected 76928 bytes, found 10; ...
    """


class CommitConflict(CollectionError):
    """Another writer changed something this change depended on.

    Example:
        >>> vectors = engine.Collection.open("vectors.nest")
        >>> try:
        ...     summary = vectors.compact()
        ... except engine.CommitConflict:  # another process removed something meanwhile, say: once more
        ...     summary = vectors.compact()
    """


class DiskFull(CollectionError):
    """There was no space left for a file of the collection; nothing was changed.

    Example:
        >>> from resource import RLIMIT_FSIZE, getrlimit, setrlimit
        >>> usual = getrlimit(RLIMIT_FSIZE)
        >>> setrlimit(RLIMIT_FSIZE, (20_000, usual[1]))  # as if there were room for 20 kB
        >>> engine.Collection.open("vectors.nest").build(["flat@16"])
        Traceback (most recent call last):
            ...
        indexers.errors.DiskFull: vectors.nest: file too large: a file of spaces/main/vectors needs ... bytes, ...
        >>> setrlimit(RLIMIT_FSIZE, usual)
    """


class ItemNotFound(CollectionError, LookupError):
    """No live item has that id or path.

    Example:
        >>> engine.Collection.open("photos.nest").similar("holiday.jpg")
        Traceback (most recent call last):
            ...
        indexers.errors.ItemNotFound: 'holiday.jpg' is not in photos.nest, and no such file is there; ...
    """


class DependencyMissing(NestvecError, ImportError):
    """An optional package is not installed, or two installed ones conflict.

    Example:
        >>> import sys
        >>> from engine.evaluation.plots import require_matplotlib
        >>> sys.modules["matplotlib"] = None  # as if it were not installed
        >>> require_matplotlib()
        Traceback (most recent call last):
            ...
        indexers.errors.DependencyMissing: plots need matplotlib: pip install 'nestvec[plots]'
    """


# -- names that somebody got nearly right ------------------------------------------------------

MOST_NAMES = 20_000
LEAST_LIKENESS = 0.65


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the name that is most like one that is not there, whatever its case; None where none is.

    Args:
        name: what was given.
        known: what there is; of very many, the first are looked at.
    """
    from difflib import get_close_matches
    from itertools import islice

    folded = {one.casefold(): one for one in islice(known, MOST_NAMES)}
    found = get_close_matches(name.casefold(), folded, n=1, cutoff=LEAST_LIKENESS)
    return folded[found[0]] if found else None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a question to put behind a message about a name that is not there; nothing where no name is near."""
    found = nearest(name, known)
    return "" if found is None else f"; did you mean {found!r}?"
