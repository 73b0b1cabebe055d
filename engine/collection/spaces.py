"""Derived spaces: the stored vectors of one space through a head that lies in the collection.

What a derived space holds follows from its base and its head alone, so whoever adds rows to the
base need not know of it: `changes.append` has its vectors made here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from engine.collection.manifest import Manifest, Space
from engine.collection.shards import read_embeddings, write_embeddings
from engine.encoders.headed import headed_fingerprint, require_encoder
from engine.heads.model import BLOCK, Head, head_from_file
from engine.storage import layout, verified
from engine.storage.layout import FileRef
from engine.storage.place import new_file, written
from indexers.errors import CommitConflict, CorruptCollection, EncoderError, HeadError, InvalidVectors
from indexers.store import check_dtype
from indexers.vectors import FloatArray

KEPT_HEADS = 4

Made = dict[tuple[str, str, str], FileRef]
"""Shards of derived vectors by what they were made from and for: the base's shard, the head, and the dtype."""


def write_head(root: Path, space: str, head: Head) -> FileRef:
    """Put a head into the collection, so that it moves with it."""
    with new_file(root, layout.space_folder(space, layout.HEADS), ".safetensors") as new:
        new.temporary.write_bytes(head.to_bytes())
    return written(new)


@lru_cache(maxsize=KEPT_HEADS)
def _load(path: Path, blake3: str) -> Head:
    del blake3  # only tells one file from another that was put in its place
    return head_from_file(path, own=True)


def read_head(root: Path, ref: FileRef) -> Head:
    """Read a head of the collection, checked by its hash.

    Raises:
        CorruptCollection: it is missing, changed, or no head.
    """
    verified.Verified(root).ensure([ref])
    try:
        return _load((root / ref.path).absolute(), ref.blake3)
    except HeadError as error:
        raise CorruptCollection(f"{error}; see `nestvec verify {root}`") from error


def head_of(root: Path, manifest: Manifest, space: str) -> Head:
    """Return the head of a derived space.

    Raises:
        CorruptCollection: the space is not derived, or its head is damaged or does not make its vectors.
    """
    entry = manifest.space(space)
    if entry.base is None or entry.head is None:
        raise CorruptCollection(f"space {space!r} of {root} is not derived from another")
    head = read_head(root, entry.head)
    base = manifest.space(entry.base).fingerprint
    try:
        require_encoder(head, base, name=entry.head.path)
    except EncoderError as error:
        raise CorruptCollection(f"space {space!r} of {root} has a head of another encoder: {error}") from error
    if headed_fingerprint(base, head) != entry.fingerprint or head.dim != entry.dim:
        raise CorruptCollection(f"{root / entry.head.path} is not the head that made space {space!r}; remove the space")
    return head


def children(manifest: Manifest, space: str) -> list[str]:
    """Return the spaces derived directly from one, in the order of the version."""
    return [name for name, entry in manifest.spaces.items() if entry.base == space]


def with_derived(manifest: Manifest, space: str) -> list[str]:
    """Return a space and all that are derived from it, each after its base."""
    found = [space]
    for name in found:
        found += children(manifest, name)
    return found


def derive_shard(root: Path, shard: FileRef, base: Space, head: Head, *, space: str, dtype: str) -> FileRef:
    """Send one shard of the base's stored vectors through a head.

    Args:
        root: the collection.
        shard: embeddings of the base.
        base: the space they belong to.
        head: the head.
        space: name of the derived space.
        dtype: how its vectors are stored.

    Raises:
        CorruptCollection: the shard cannot be read.
        HeadError: a vector has no direction any more after the head.
    """
    ids, stored = read_embeddings(root, shard, base.dim, base.dtype)
    out = np.empty((len(stored), head.dim), dtype=check_dtype(dtype))
    try:
        for first in range(0, len(stored), BLOCK):
            part = slice(first, first + BLOCK)
            out[part] = head(np.asarray(stored[part], dtype=np.float32), "items")
    except InvalidVectors as error:
        raise HeadError(
            f"the head of space {space!r} of {root} cannot take a vector of {shard.path}: {error}. "
            f"Go on without it: nestvec remove {root} --space {space}"
        ) from error
    return write_embeddings(root, space, ids, out, dtype)


def extend(root: Path, manifest: Manifest, shards: Mapping[str, FileRef], made: Made) -> dict[str, Space]:
    """Add one shard of embeddings to each space that is derived from no other, and what follows to those that are.

    Args:
        root: the collection.
        manifest: the version.
        shards: the new embeddings by space.
        made: what was derived before; a change that is retried derives nothing twice.

    Returns:
        the version's spaces, all one shard longer.

    Raises:
        CommitConflict: these are not all the spaces that are derived from no other.
    """
    if set(manifest.roots) != set(shards):
        raise CommitConflict(
            f"items can be added to {root} only with a vector in each of its spaces ({', '.join(manifest.roots)}); "
            f"found them for {', '.join(shards)}"
        )
    new = dict(shards)
    for space in shards:
        for name in with_derived(manifest, space)[1:]:
            new[name] = derived_shard(root, manifest, name, new[str(manifest.space(name).base)], made)
    return {name: replace(entry, embeddings=(*entry.embeddings, new[name])) for name, entry in manifest.spaces.items()}


def derived_shard(root: Path, manifest: Manifest, space: str, shard: FileRef, made: Made) -> FileRef:
    """Return a derived space's embeddings of one shard of its base, made now or taken from `made`."""
    entry = manifest.space(space)
    # By the head too: a space may be removed, and another made under its name, between two attempts.
    key = (shard.path, "" if entry.head is None else entry.head.path, entry.dtype)
    if key not in made:
        head, base = head_of(root, manifest, space), manifest.space(str(entry.base))
        made[key] = derive_shard(root, shard, base, head, space=space, dtype=entry.dtype)
    return made[key]


def line(manifest: Manifest, space: str) -> list[str]:
    """Return the derived spaces that lead to one, the first after the encoder's own first."""
    found: list[str] = []
    while (base := manifest.space(space).base) is not None:
        found.insert(0, space)
        space = base
    return found


def map_queries(root: Path, manifest: Manifest, space: str, xq: FloatArray) -> FloatArray:
    """Send queries of the encoder through the heads that lead to a space.

    Args:
        root: the collection.
        manifest: the version.
        space: where they are to be asked.
        xq: unit float32 [nq, D] of what makes the vectors that the space is derived from in the end.

    Returns:
        unit float32 [nq, D'] of the space; `xq` itself for a space that is not derived.
    """
    for name in line(manifest, space):
        xq = head_of(root, manifest, name)(xq, "queries")
    return xq
