"""Index files: written whole, and read as what they are, input from a stranger.

A FAISS file has no checksum of its own; the collection checks its hash before it gets here.
What is checked here is that the file is of the kind, size and dimension it was declared as.
"""

from __future__ import annotations

from pathlib import Path

import faiss

from indexers.base import FaissIndex
from indexers.errors import CorruptCollection

LOOP_LIMIT = 100_000_000


def write_index(index: FaissIndex, path: Path) -> None:
    """Write an index to a new file."""
    faiss.write_index(index, str(path))


def read_index(path: Path, *, full_dim: int, rows: int) -> FaissIndex:
    """Read an index whose hash has been checked, and check it against its declaration.

    Args:
        path: the file.
        full_dim: dimension D it must take.
        rows: rows it must hold.

    Raises:
        CorruptCollection: FAISS cannot read it, or it is another index than declared.
    """
    # No array in the file can be longer than the file; a transform counts as a full matrix, even
    # one that only picks columns.
    faiss.set_deserialization_vector_byte_limit(2 * path.stat().st_size + 8 * full_dim * full_dim + 4096)
    faiss.set_deserialization_loop_limit(LOOP_LIMIT)
    try:
        index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
    except RuntimeError as error:
        reason = str(error).rsplit(":", 1)[-1].strip()
        raise CorruptCollection(
            f"{path} is not an index FAISS {faiss.__version__} can read ({reason}); rebuild it with `nestvec index`"
        ) from error
    if index.d != full_dim or index.ntotal != rows:
        raise CorruptCollection(
            f"{path}: expected an index of {rows} rows × {full_dim}, found {index.ntotal} × {index.d}"
        )
    return index
