"""Index files: written whole, and read as what they are, input from a stranger.

A file is what FAISS writes, followed by a footer of ours: eight bytes of magic and the length of
what is before them. FAISS reads no further than it must, so `faiss.read_index` opens such a file
as well; but its mapped reader (`IO_FLAG_MMAP_IFC`, faiss 1.15) takes a number that the end of the
file cuts in two for a whole one, and then reads on past the mapping: a file that was cut short
kills the process. With the footer that is found out before FAISS sees it.

There is no checksum here; the collection checks its hash before a file gets here. What is checked
is that the index is of the kind, size and dimension it was declared as.
"""

from __future__ import annotations

import struct
import threading
from pathlib import Path

import faiss

from indexers.base import FaissIndex, IndexSpec
from indexers.errors import CorruptCollection
from indexers.prefix import blank_front, unwrap
from indexers.registry import family

LOOP_LIMIT = 100_000_000
WRITTEN_AT_ONCE = 1 << 20
MAGIC = b"nestidx\x01"
SIZES = ("d", "metric_type", "code_size", "nlist", "M2", "bbs")
FOOTER = struct.Struct("<8sQ")

# The limits of FAISS' reader belong to the process, and are another for every file.
_reading = threading.Lock()


def write_index(index: FaissIndex, path: Path) -> None:
    """Write an index to a new file.

    Raises:
        OSError: the disk is full, or worse.
    """
    failed: list[OSError] = []
    with path.open("wb") as out:

        def write(part: bytes) -> int:
            try:
                return out.write(part)
            except OSError as error:  # FAISS would lose it
                failed.append(error)
                raise

        # Not by name: what FAISS' own writer cannot flush when it closes the file is lost without an error.
        try:
            faiss.write_index(index, faiss.PyCallbackIOWriter(write, WRITTEN_AT_ONCE))
        except (RuntimeError, OSError):
            if failed:
                raise failed[0] from None
            raise
        out.write(FOOTER.pack(MAGIC, out.tell()))


def read_index(path: Path, *, spec: IndexSpec, full_dim: int, rows: int) -> FaissIndex:
    """Read an index whose hash has been checked, and check it against its declaration.

    Args:
        path: the file.
        spec: resolved spec it was built with.
        full_dim: dimension D it must take.
        rows: rows it must hold.

    Raises:
        CorruptCollection: FAISS cannot read it, or it is another index than declared.
    """
    size = _whole_size(path)
    with _reading:
        # No array in the file can be longer than the file; a transform counts as a full matrix, even
        # one that only picks columns.
        faiss.set_deserialization_vector_byte_limit(2 * size + 8 * full_dim * full_dim + 4096)
        faiss.set_deserialization_loop_limit(LOOP_LIMIT)
        try:
            index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
        except (RuntimeError, MemoryError) as error:
            reason = str(error).rsplit(":", 1)[-1].strip()
            raise _unreadable(path, f"FAISS {faiss.__version__} cannot read it: {reason}") from error
    if index.d != full_dim or index.ntotal != rows:
        raise _unreadable(path, f"expected an index of {rows} rows × {full_dim}, found {index.ntotal} × {index.d}")
    _check_kind(index, spec, full_dim, rows, path)
    return index


def _unreadable(path: Path, reason: str) -> CorruptCollection:
    return CorruptCollection(f"{path} is not the index it should be ({reason}); rebuild it with `nestvec index`")


def _whole_size(path: Path) -> int:
    """Return the size of a file that ends in its footer."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - FOOTER.size))
            footer = file.read(FOOTER.size)
    except OSError as error:
        raise _unreadable(path, str(error)) from error
    if footer != FOOTER.pack(MAGIC, max(0, size - FOOTER.size)):
        raise _unreadable(path, f"its {size} bytes do not end as an index of nestvec does")
    return size


def _check_kind(index: FaissIndex, spec: IndexSpec, full_dim: int, rows: int, path: Path) -> None:
    """Check that the index is built like the one its spec makes.

    FAISS takes each size in a file on trust: where one part is shorter than the next expects,
    a search reads memory that is not its own.
    """
    chain, inner = unwrap(index)
    wanted = [*map(_step, blank_front(spec, full_dim).steps(drawn=False)), *_parts(family(spec.family).create(spec))]
    found = [*map(_step, chain), *_parts(inner)]
    if found != wanted:
        raise _unreadable(path, f"{spec} is made of {wanted}, found {found}")
    matrices = [step for step in chain if isinstance(step, faiss.LinearTransform)]
    if any(matrix.A.size() != matrix.d_in * matrix.d_out for matrix in matrices):
        raise _unreadable(path, "its rotation is not a whole matrix")
    stored = faiss.downcast_index(inner.storage) if isinstance(inner, faiss.IndexHNSW) else inner
    flat = isinstance(stored, faiss.IndexFlatCodes)
    if {inner.ntotal, stored.ntotal} != {rows} or (flat and stored.codes.size() != rows * stored.code_size):
        raise _unreadable(path, f"its codes are not those of {rows} rows")
    ivf = faiss.try_extract_index_ivf(inner)
    if ivf is not None:
        _check_lists(ivf, rows, path)


def _step(step: FaissIndex) -> tuple[object, ...]:
    """Describe a transform: class, dimensions, and what else could lead astray."""
    picks = faiss.vector_to_array(step.map).tolist() if isinstance(step, faiss.RemapDimensionsTransform) else None
    numbers = (getattr(step, name, None) for name in ("norm", "have_bias"))
    return type(step).__name__, step.d_in, step.d_out, picks, *numbers


def _parts(index: FaissIndex) -> list[tuple[object, ...]]:
    """Describe an index and those inside it: class, and every size a search relies on."""
    # FAISS writes an inner product's IndexFlat as IndexFlatIP.
    kind = "IndexFlat" if isinstance(index, faiss.IndexFlat) else type(index).__name__
    found: list[tuple[object, ...]] = [(kind, *(getattr(index, name, None) for name in SIZES))]
    if isinstance(index, faiss.IndexScalarQuantizer):
        found.append(("sq", index.sq.d, index.sq.qtype, index.sq.code_size))
    if isinstance(index, faiss.IndexIVFPQFastScan):
        found.append(("pq", index.by_residual, index.pq.d, index.pq.M, index.pq.nbits, index.pq.ksub, index.pq.dsub))
    if isinstance(index, faiss.IndexHNSW):
        found += _parts(faiss.downcast_index(index.storage))
    if isinstance(index, faiss.IndexIVF):
        found += _parts(faiss.downcast_index(index.quantizer))
    return found


def _check_lists(ivf: FaissIndex, rows: int, path: Path) -> None:
    """Check that every row number in the cells exists: the rerank reads memory at it."""
    for cell in range(ivf.nlist):
        size = ivf.invlists.list_size(cell)
        if size:
            ids = faiss.rev_swig_ptr(ivf.invlists.get_ids(cell), size)
            if ids.min() < 0 or ids.max() >= rows:
                raise _unreadable(path, f"cell {cell} holds rows that do not exist")
