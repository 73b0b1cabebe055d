"""An empty collection, for one encoder and for vectors that are handed in beside its own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from engine.collection import commit, reading
from engine.collection.manifest import Manifest, Space
from engine.encoders.base import Encoder
from engine.encoders.precomputed import PrecomputedEncoder
from engine.jobs.canaries import write_canaries
from engine.storage import layout
from indexers import checks
from indexers.errors import CollectionError, CommitConflict, DiskFull, InvalidInput
from indexers.store import check_dtype


def create(
    root: Path, encoder: Encoder, *, dtype: str = "float16", spaces: Mapping[str, int] | None = None
) -> Manifest:
    """Make an empty collection for one encoder.

    Args:
        root: the collection.
        encoder: what makes the vectors of the main space.
        dtype: how vectors are stored.
        spaces: dimensions of further spaces, by name, whose vectors are handed in beside those of the main one.

    Raises:
        CollectionError: the directory already holds something.
        CommitConflict: another process made it in the meantime.
        InvalidSpec: a dtype that is not a storage type.
        EncoderMismatch: the encoder has a head of another.
        InvalidInput: a space cannot be called so, or have such a dimension.
    """
    check_dtype(dtype)
    given = checks.mapping("spaces", {} if spaces is None else spaces)
    brought = [_brought(name, dim, dtype) for name, dim in given.items()]
    fingerprint = encoder.fingerprint  # first: a head of another encoder must leave no directory behind

    def first() -> Manifest:
        space = Space(
            encoder=encoder.name,
            fingerprint=fingerprint,
            canaries=write_canaries(root, layout.DEFAULT_SPACE, encoder),
            dim=encoder.dim,
            dtype=dtype,
        )
        return Manifest(spaces={layout.DEFAULT_SPACE: space, **dict(brought)})

    return commit.create(root, first)


def _brought(name: str, dim: int, dtype: str) -> tuple[str, Space]:
    """Return an empty space whose vectors are handed in, and its name."""
    if not isinstance(name, str) or not layout.is_space_name(name) or name == layout.DEFAULT_SPACE:
        raise InvalidInput(f"a further space is called by 1 to 64 of a–z, 0–9, _ and -, and not main; found {name!r}")
    made = PrecomputedEncoder(name=name, dim=checks.whole(f"spaces[{name!r}]", dim, 1, reading.MOST_DIMENSIONS))
    return name, Space(encoder=made.name, fingerprint=made.fingerprint, canaries=None, dim=dim, dtype=dtype)


def create_first(root: Path, encoder: Encoder, dtype: str, spaces: Mapping[str, int]) -> None:
    """`create`, where nothing was a moment ago: what is there now was made by another process."""
    try:
        create(root, encoder, dtype=dtype, spaces=spaces)
    except CollectionError as error:
        if isinstance(error, CommitConflict | DiskFull) or not reading.exists(root):
            raise
        raise CommitConflict(f"another process made {root} in the meantime; run this again") from error
