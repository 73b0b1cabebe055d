"""Every file name of a collection, in one place.

::

    photos.nest/
      versions/0000000007.json               immutable; the highest number is current
      items/<hash>.parquet                   what was indexed: one row an item
      lookup/<hash>.arrow                    the same rows laid out for random access (derived)
      words/<hash>.arrow                     where each word comes in them (derived)
      deletes/<hash>.parquet                 tombstones by (shard, row)
      failures/<hash>.parquet                what could not be indexed, and why
      notes/<hash>.parquet                   what need not be opened again (derived)
      spaces/<name>/embeddings/<hash>.parquet    vectors, row for row beside the item shards
      spaces/<name>/encoder/<hash>.json          fingerprint and canaries of the encoder
      spaces/<name>/vectors/<hash>.npy           the same vectors for reranking (derived)
      spaces/<name>/indexes/<hash>.faiss         one per prefix dimension and family (derived)
      spaces/<name>/indexes/<hash>.pruned        for exact search (derived)
      spaces/<name>/heads/<hash>.safetensors     the head that makes a space from its base

A file is named by the first 32 hex digits of its own BLAKE3 hash. Files that no version
lists do not exist.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

FIRST_FORMAT, FORMAT = 1, 2
"""A version says the first that can tell all that is in it; this nestvec reads both."""

VERSIONS = "versions"
ITEMS = "items"
LOOKUP = "lookup"
WORDS = "words"
DELETES = "deletes"
FAILURES = "failures"
NOTES = "notes"
SPACES = "spaces"
EMBEDDINGS = "embeddings"
ENCODER = "encoder"
VECTORS = "vectors"
INDEXES = "indexes"
HEADS = "heads"
DEFAULT_SPACE = "main"

HASH_DIGITS = 32
TEMPORARY = ".tmp-"

_VERSION = re.compile(r"[0-9]{10}\.json")
_FILE = re.compile(
    r"(items|lookup|words|deletes|failures|notes|spaces/[a-z0-9_-]{1,64}/(embeddings|encoder|vectors|indexes|heads))"
    r"/(?P<stem>[0-9a-f]{32})\.(parquet|arrow|json|npy|faiss|pruned|safetensors)"
)
_HASH = re.compile(r"[0-9a-f]{64}")
_SPACE = re.compile(r"[a-z0-9_-]{1,64}")


def version_file(number: int) -> str:
    """Return the path of a version, relative to the collection."""
    return f"{VERSIONS}/{number:010d}.json"


def version_number(name: str) -> int | None:
    """Return the number of a version file's name, or None for any other file."""
    return int(name[:10]) if _VERSION.fullmatch(name) else None


def space_folder(space: str, kind: str) -> str:
    """Return the folder of one kind of file of a space, relative to the collection."""
    return f"{SPACES}/{space}/{kind}"


def is_file_of(path: str, blake3: str) -> bool:
    """Whether a path taken from a version file is one that nestvec would have given to content of that hash."""
    match = _FILE.fullmatch(path)
    return match is not None and _HASH.fullmatch(blake3) is not None and match["stem"] == blake3[:HASH_DIGITS]


def is_own(path: str) -> bool:
    """Whether a path, relative to the collection, is one that nestvec gives to a file, or to one it is writing."""
    return _FILE.fullmatch(path) is not None or path.rpartition("/")[2].startswith(TEMPORARY)


def folders(root: Path) -> Iterator[str]:
    """Yield the folders of a collection, whether they are there or not, relative to it, each before those in it."""
    yield from (VERSIONS, ITEMS, LOOKUP, WORDS, DELETES, FAILURES, NOTES, SPACES)
    with contextlib.suppress(FileNotFoundError):
        for space in sorted(os.listdir(root / SPACES)):
            if is_space_name(space):
                yield f"{SPACES}/{space}"
                yield from (space_folder(space, kind) for kind in (EMBEDDINGS, ENCODER, VECTORS, INDEXES, HEADS))


def is_head_of(path: str, space: str) -> bool:
    """Whether a file of a collection is where the head of a space lies."""
    return path.startswith(f"{space_folder(space, HEADS)}/")


def is_collection(names: Iterable[str]) -> bool:
    """Whether file names found in a `versions` folder are those of a collection."""
    return any(version_number(name) is not None for name in names)


def is_space_name(name: str) -> bool:
    """Whether a name may be a space's: 1 to 64 of a–z, 0–9, _ and -."""
    return _SPACE.fullmatch(name) is not None


@dataclass(frozen=True)
class FileRef:
    """One immutable file.

    Example:
        >>> engine.Collection.open("photos.nest").snapshot.manifest.items
        (FileRef(path='items/....parquet', size=..., blake3='...', rows=33),)

    Attributes:
        path: relative to the collection, POSIX.
        size: bytes.
        blake3: 64 hex digits of its content.
        rows: rows it holds; 0 for a file that has none.
    """

    path: str
    size: int
    blake3: str
    rows: int
