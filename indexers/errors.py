"""Every error nestvec raises on purpose.

A message says what was expected, what was found, and what to do::

    NestvecError
    ├── InvalidInput              an argument the caller can correct
    │   ├── InvalidVectors        wrong shape, dtype or dimension; NaN, infinite or zero rows
    │   ├── InvalidSpec           an index, plan or encoder spec that does not parse
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


class NestvecError(Exception):
    """Root of the tree: catch this to catch everything nestvec raises on purpose."""


class InvalidInput(NestvecError, ValueError):
    """An argument the caller can correct."""


class InvalidVectors(InvalidInput):
    """Vectors of the wrong shape, dtype or dimension, or with NaN, infinite or zero rows."""


class InvalidSpec(InvalidInput):
    """An index, plan or encoder spec that does not parse or cannot be built."""


class NotEnoughMemory(InvalidInput):
    """An index that would take more memory to build than there is; nothing was begun."""


class SourceError(NestvecError):
    """A folder, table or vector file that cannot be read or joined."""


class PictureError(SourceError):
    """One picture that cannot be decoded; costs one row in the failures table."""


class EncoderError(NestvecError):
    """An encoder that cannot be loaded or cannot do what was asked of it."""


class WeightsMissing(EncoderError):
    """Weights that are not on this machine and could not be fetched."""


class EncoderNotNamed(EncoderError):
    """A collection names files of this machine for its encoder, and nobody has named them here."""


class ModalityError(EncoderError):
    """A text was asked of an image-only encoder, or a picture of a text-only one."""


class EncoderMismatch(EncoderError):
    """Vectors made by two different encoders would be compared or mixed."""


class HeadError(EncoderError):
    """A head file that is damaged, is no head, or cannot be written."""


class CollectionError(NestvecError):
    """Something about a collection directory."""


class NotACollection(CollectionError):
    """The directory does not exist, or is something else."""


class UnsupportedFormat(CollectionError):
    """The collection was written by a newer format version than this one reads."""


class CorruptCollection(CollectionError):
    """A file of the collection is missing, cut short, or has the wrong hash."""


class CommitConflict(CollectionError):
    """Another writer changed something this change depended on."""


class DiskFull(CollectionError):
    """There was no space left for a file of the collection; nothing was changed."""


class ItemNotFound(CollectionError, LookupError):
    """No live item has that id or path."""


class DependencyMissing(NestvecError, ImportError):
    """An optional package is not installed, or two installed ones conflict."""
