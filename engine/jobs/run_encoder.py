"""The encoder of a run, loaded when something has to be encoded and not before."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path

from engine.collection.encoder import PRECOMPUTED, encoder_of, is_precomputed
from engine.collection.manifest import Manifest
from engine.encoders.base import Encoder, require_modality
from engine.encoders.registry import load_encoder
from engine.ingest.entries import VectorListing
from engine.jobs.canaries import check_canaries
from engine.progress import Listener
from engine.storage import layout
from indexers.errors import InvalidSpec, SourceError

DEFAULT_ENCODER = "bundled"


def first_encoder(
    spec: str | None, vectors: Sequence[VectorListing], *, only: bool, pool: str | None, device: str
) -> Encoder:
    """Load the encoder of a collection that is made.

    Args:
        spec: what was asked for; chosen by the sources if None.
        vectors: the sources of vectors.
        only: whether there are no others.
        pool: pooling of a resnet encoder.
        device: where to encode.

    Raises:
        InvalidSpec: vectors are to be brought, and there are none.
    """
    spec = spec or (PRECOMPUTED if only else DEFAULT_ENCODER)
    dim = next((listing.dim for listing in vectors), None) if is_precomputed(spec) else None
    if dim is None and is_precomputed(spec):
        raise InvalidSpec("the precomputed encoder takes vectors (.npy, Parquet, …), and none were given")
    return load_encoder(spec, device=device, pool=pool, dim=dim)


def check_dimensions(name: str, dims: Mapping[str, int], vectors: Sequence[VectorListing]) -> None:
    """Refuse vectors of other dimensions than the collection's, or for other spaces.

    Args:
        name: of the collection's encoder, which makes those of the main space.
        dims: of each space that items have a vector of their own in, the main one first.
        vectors: the sources.

    Raises:
        SourceError: they differ.
    """
    for listing in vectors:
        place = listing.source.location
        if list(listing.dims) != list(dims):
            raise SourceError(
                f"{place} has vectors for {_named(listing.dims)}, and items of this collection have one each for "
                f"{_named(dims)}: say with --space NAME=COLUMN where they are. A collection gets such spaces when it "
                "is made"
            )
        for space, dim in dims.items():
            if not listing.fits(space, dim):
                made = f"{name} makes" if space == layout.DEFAULT_SPACE else f"space {space} has"
                raise SourceError(f"{place} holds vectors of {listing.dims[space]} dimensions, and {made} {dim}")


def _named(spaces: Iterable[str]) -> str:
    return "the main space" + "".join(f" and {name}" for name in spaces if name != layout.DEFAULT_SPACE)


class RunEncoder:
    """The encoder of an existing collection, for one run.

    Args:
        root: the collection.
        manifest: its newest version.
        wanted: spec that was asked for.
        pool: pooling of a resnet encoder, if it was asked for.
        device: where to encode.
        listener: hears what is loaded.
    """

    def __init__(
        self, root: Path, manifest: Manifest, *, wanted: str | None, pool: str | None, device: str, listener: Listener
    ) -> None:
        self._root = root
        self._space = manifest.space()
        self._wanted, self._pool, self._device = wanted, pool, device
        self._listener = listener

    @property
    def is_in_doubt(self) -> bool:
        """Whether what was asked for may be another encoder: only loading it tells."""
        named = self._wanted is not None and self._wanted != self._space.encoder
        return named or self._pool is not None

    @cached_property
    def loaded(self) -> Encoder:
        """The encoder."""
        return encoder_of(self._space, wanted=self._wanted, pool=self._pool, device=self._device)

    @cached_property
    def checked(self) -> Encoder:
        """The encoder, to encode pictures with: it gives the same vectors as when the collection was made."""
        require_modality(self.loaded, "image")
        say_encoder(self.loaded, self._listener)
        check_canaries(self._root, self._space.canaries, self.loaded)
        return self.loaded


def say_encoder(encoder: Encoder, listener: Listener) -> None:
    """Tell what encodes, and where."""
    from engine.encoders.device import describe_device

    listener.say(f"encoding with {encoder.name} on {describe_device(encoder.device)}")
