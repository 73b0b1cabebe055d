"""The formats in which a collection leaves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from engine.query.export.arrays import write_clip_retrieval, write_faiss
from engine.query.export.hdf5 import write_hdf5
from engine.query.export.huggingface import write_huggingface
from engine.query.export.qdrant import write_qdrant
from engine.query.export.tables import write_lance, write_parquet
from engine.query.export.webdataset import write_webdataset
from engine.query.export.writing import Writing

COLUMNS = frozenset({"columns"})
PICTURES = COLUMNS | {"pictures_from", "vectors"}
QUERIES = frozenset({"held_out", "queries", "k", "seed"})


@dataclass(frozen=True)
class Format:
    """How a kind of file is written.

    Attributes:
        write: writes it.
        takes: names of the options that it has a use for.
        folder: whether it is a folder.
        pictures: whether the bytes of pictures are in it.
    """

    write: Callable[[Writing], None]
    takes: frozenset[str] = COLUMNS
    folder: bool = False
    pictures: bool = False


FORMATS: dict[str, Format] = {
    "parquet": Format(write_parquet),
    "hdf5": Format(write_hdf5, QUERIES),
    "clip-retrieval": Format(write_clip_retrieval, folder=True),
    "faiss": Format(write_faiss, frozenset()),
    "qdrant": Format(write_qdrant),
    "lance": Format(write_lance, folder=True),
    "huggingface": Format(write_huggingface, PICTURES, folder=True, pictures=True),
    "webdataset": Format(write_webdataset, PICTURES, folder=True, pictures=True),
}
