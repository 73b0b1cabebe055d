"""What is exported and how, and what became of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from indexers import checks
from indexers.errors import InvalidInput
from indexers.vectors import as_matrix

NEIGHBOURS = 100
"""Neighbours of each query, as the benchmark itself has them."""


@dataclass(frozen=True, eq=False)
class ExportOptions:
    """What of a collection is exported, and how; what a format has no use for is refused.

    Example:
        >>> photos = engine.Collection.open("photos.nest")
        >>> options = engine.ExportOptions(columns=["path", "caption"], overwrite=True)
        >>> photos.export("photos.parquet", "parquet", where="folder = 'drawings'", options=options).items
        15

    Attributes:
        columns: as in a filter; if None all but folder, name and suffix, which the path says. The id always goes along.
        overwrite: whether a file that is there is replaced; a folder never is.
        pictures_from: folders whose pictures may be taken too, beside those of sources that were indexed here.
        vectors: `huggingface` and `webdataset`: whether vectors go along with the pictures.
        held_out: `hdf5`: rows that become the queries, drawn at random; if None 1,000, or a tenth of the items where
            they are fewer.
        queries: `hdf5`: the queries instead, real [nq, D]; all items are searched then.
        k: `hdf5`: neighbours of each query; all items where they are fewer.
        seed: `hdf5`: which rows are drawn.
    """

    columns: Sequence[str] | None = None
    overwrite: bool = False
    pictures_from: Sequence[str | Path] = ()
    vectors: bool = False
    held_out: int | None = None
    queries: Any = None
    k: int = NEIGHBOURS
    seed: int = 0

    def __post_init__(self) -> None:
        """Check each by itself.

        Raises:
            InvalidInput: one is something else.
        """
        queries = self.queries
        checks.settle(
            self,
            columns=checks.optional("columns", self.columns, checks.texts),
            overwrite=checks.truth("overwrite", self.overwrite),
            pictures_from=checks.one_or_several("pictures_from", self.pictures_from, checks.path),
            vectors=checks.truth("vectors", self.vectors),
            held_out=checks.optional("held_out", self.held_out, checks.whole),
            queries=None if queries is None else as_matrix(queries, name="queries"),
            k=checks.whole("k", self.k),
            seed=checks.whole("seed", self.seed, 0, checks.MOST_SEED),
        )
        if queries is not None and self.held_out is not None:
            raise InvalidInput("give queries, or say how many rows are held out for them, not both")

    @property
    def given(self) -> set[str]:
        """Names of the options that are not as they are by themselves."""
        said = {
            "columns": self.columns is not None,
            "pictures_from": bool(self.pictures_from),
            "vectors": self.vectors,
            "held_out": self.held_out is not None,
            "queries": self.queries is not None,
            "k": self.k != NEIGHBOURS,
            "seed": self.seed != 0,
        }
        return {name for name, is_said in said.items() if is_said}


class LeftOut(NamedTuple):
    """An item that is not in an export, as its picture could not be had.

    Example:
        >>> import shutil
        >>> photos, away = engine.Collection.open("photos.nest"), shutil.move("PHOTOS/drawings/bus.png", "bus.png")
        >>> photos.export("shards", "webdataset").left_out
        (LeftOut(id=3, uri='.../PHOTOS/drawings/bus.png', reason='No such file or directory'),)
        >>> back = shutil.move("bus.png", "PHOTOS/drawings/bus.png")

    Attributes:
        id: its id.
        uri: where the picture was.
        reason: why it could not be had, in a line.
    """

    id: int
    uri: str
    reason: str


@dataclass(frozen=True)
class Exported:
    """What an export wrote.

    Example:
        >>> engine.Collection.open("vectors.nest").export("vectors.faiss", "faiss")
        Exported(path='vectors.faiss', format='faiss', version=..., items=1200, left_out=(), unnamed=())

    Attributes:
        path: where it lies: a file, or a folder.
        format: which.
        version: of the collection.
        items: how many it holds.
        left_out: what is not in it though it was asked for.
        unnamed: folders of sources whose pictures nobody on this machine has named; see `ExportOptions.pictures_from`.
    """

    path: str
    format: str
    version: int
    items: int
    left_out: tuple[LeftOut, ...] = ()
    unnamed: tuple[str, ...] = ()
