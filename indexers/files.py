"""Index files: written whole, and read as what they are, input from a stranger.

A file is what FAISS writes, followed by a footer of ours: eight bytes of magic and the length of
what is before them. FAISS reads no further than it must, so `faiss.read_index` opens such a file
as well; but its mapped reader (`IO_FLAG_MMAP_IFC`, faiss 1.15) takes a number that the end of the
file cuts in two for a whole one, and then reads on past the mapping: a file that was cut short
kills the process. With the footer that is found out before FAISS sees it.

There is no checksum here; the collection checks its hash before a file gets here, and whoever made the
file made the hash. So the footer says little to somebody who means harm: `_Outline` goes through the
file before FAISS does, which would also set aside memory for what is not there, and open other files
that are named in this one. Then it is checked that the index is of the kind, size and dimension it was
declared as, and that whatever in it leads a search somewhere leads inside.
"""

from __future__ import annotations

import mmap
import struct
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from indexers.base import AXES, FaissIndex, IndexSpec
from indexers.errors import CorruptCollection, InvalidSpec
from indexers.families.base import check_numbers
from indexers.families.ivf import ROTATE
from indexers.families.registry import family, resolve
from indexers.prefix import blank_front, unwrap
from indexers.threads import new_lock

LOOP_LIMIT = 100_000_000
WRITTEN_AT_ONCE = 1 << 20
MAGIC = b"nestidx\x01"
SIZES = ("d", "metric_type", "code_size", "nlist", "M2", "bbs", "implem", "qbs2")
FOOTER = struct.Struct("<8sQ")
INSIDE = ("storage", "base_index", "refine_index", "quantizer")
HEADER = struct.Struct("<iqqqBi")  # d, ntotal, two that mean nothing, is_trained, metric
MOST_TRANSFORMS = 8
FAMILY_KINDS = ("IxFI", "IxF2", "IxSQ", "IHNf", "IwFl", "IwPf", "IxRF")

# The limits of FAISS' reader belong to the process, and are another for every file.
_reading = new_lock()


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
    _check_spec(path, size, spec, full_dim, rows)
    _check_outline(path, size, spec, full_dim)
    with _reading:
        # No array in the file can be longer than the file; a transform counts as a full matrix, even
        # one that only picks columns.
        before = faiss.get_deserialization_vector_byte_limit(), faiss.get_deserialization_loop_limit()
        faiss.set_deserialization_vector_byte_limit(2 * size + 8 * full_dim * full_dim + 4096)
        faiss.set_deserialization_loop_limit(LOOP_LIMIT)
        try:
            index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC | faiss.IO_FLAG_READ_ONLY)
        except (RuntimeError, MemoryError) as error:
            reason = str(error).rsplit(":", 1)[-1].strip()
            raise _unreadable(path, f"FAISS {faiss.__version__} cannot read it: {reason}") from error
        finally:  # whoever else reads indexes in this process has limits of their own
            faiss.set_deserialization_vector_byte_limit(before[0])
            faiss.set_deserialization_loop_limit(before[1])
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


class _Outline:
    """Where everything lies in what FAISS writes of an index of ours, found without trusting a number in it.

    Args:
        data: the file, or as much of it as is FAISS'.
        end: bytes that are.
        blank: whether it is of an index before training, which has no centroids.
    """

    def __init__(self, data: Any, end: int, *, blank: bool = False) -> None:
        self._data, self._blank = data, blank
        self._at, self._end = 0, end

    def check(self) -> None:
        """Raise ValueError where a part is longer than the file, or is none that we write."""
        self._index(("IxPT", *FAMILY_KINDS))
        if self._at != self._end:
            raise ValueError(f"{self._end - self._at} bytes follow it")

    def _skip(self, count: int) -> int:
        """Move on; return where to."""
        if not 0 <= count <= self._end - self._at:
            raise ValueError(f"{count} bytes at {self._at} are more than there are")
        self._at += count
        return self._at

    def _read(self, form: str) -> tuple[Any, ...]:
        size = struct.calcsize("<" + form)
        return struct.unpack_from("<" + form, self._data, self._skip(size) - size)

    def _vector(self, size: int) -> int:
        """Pass over an array of numbers of some bytes; return how many."""
        (count,) = self._read("Q")
        self._skip(count * size)
        return int(count)

    def _kind(self, known: tuple[str, ...]) -> str:
        (raw,) = self._read("4s")
        kind: str = raw.decode("latin-1")
        if kind not in known:
            raise ValueError(f"a part of the kind {kind!r} where {' or '.join(known)} is expected")
        return kind

    def _index(self, known: tuple[str, ...]) -> tuple[int, int]:
        """Pass over an index; return its dimension and rows."""
        kind = self._kind(known)
        d, n, _, _, trained, metric = HEADER.unpack_from(self._data, self._skip(HEADER.size) - HEADER.size)
        # Others have more fields.
        if d < 1 or n < 0 or metric not in (faiss.METRIC_INNER_PRODUCT, faiss.METRIC_L2) or trained > 1:
            raise ValueError(f"an index of {n} rows × {d} and metric {metric}")
        if kind == "IxPT":
            (steps,) = self._read("i")
            for _ in range(min(steps, MOST_TRANSFORMS + 1)):
                self._transform()
            self._index(FAMILY_KINDS)
        elif kind in ("IxFI", "IxF2"):
            if self._vector(4) != n * d:
                raise ValueError(f"not the numbers of {n} rows × {d}")
        elif kind == "IxSQ":
            self._read("iifQQ")
            self._vector(4)
            self._vector(1)
        elif kind == "IxRF":
            if self._index(("IwPf",)) != (d, n) or self._index(("IxSQ",)) != (d, n):
                raise ValueError(f"not both codes of {n} rows × {d}")
            self._read("f")
        elif kind == "IHNf":
            for size in (8, 4, 4, 8, 4):
                self._vector(size)
            self._read("5i")
            self._index(("IxFI",))
        else:
            self._inverted(kind, d)
        return d, n

    def _transform(self) -> None:
        kind = self._kind(("rrot", "LTra", "RmDT", "VNrm"))
        if kind in ("rrot", "LTra"):
            self._read("?")
            self._vector(4)
            self._vector(4)
        elif kind == "RmDT":
            self._vector(4)
        else:
            self._read("f")
        self._read("ii?")

    def _inverted(self, kind: str, d: int) -> None:
        nlist, _ = self._read("QQ")
        if self._index(("IxFI",)) != (d, 0 if self._blank else nlist):
            raise ValueError(f"not the centroids of {nlist} cells × {d}")
        if self._read("b") != (faiss.DirectMap.NoMap,):
            raise ValueError("a map of rows, which we do not write")
        self._vector(8)
        if kind == "IwPf":
            _, _, bbs, m2, _, _ = self._read("?QiQiQ")
            width, _, bits = self._read("QQQ")
            if width != d or bits > 8 or self._vector(4) not in (0, d << bits):
                raise ValueError(f"not the code book of {d} dimensions and {bits} bits")
        self._kind(("ilbl" if kind == "IwPf" else "ilar",))
        found = self._read("QQ" if kind == "IwFl" else "QQQQ")
        if found[0] != nlist:
            raise ValueError(f"{found[0]} of {nlist} cells")
        if kind == "IwPf":
            if found[2] != bbs or bbs < 1 or found[3] * 2 != bbs * m2:
                raise ValueError(f"blocks of {found[2]} rows in {found[3]} bytes, for {m2} codes a row")
            for _ in range(nlist):
                rows = self._vector(8)
                if self._vector(1) != -(-rows // bbs) * found[3]:
                    raise ValueError(f"a cell without all codes of its {rows} rows")
            return
        sizes = self._cell_sizes(nlist)
        if sizes.max(initial=0) > self._end:
            raise ValueError("a cell is longer than the file")
        self._skip(int(sizes.sum()) * (4 * d + 8))

    def _cell_sizes(self, nlist: int) -> NDArray[np.uint64]:
        """Return the rows of each cell, or of each that has some."""
        sparse = self._kind(("full", "sprs")) == "sprs"
        count = self._vector(8)
        numbers = np.frombuffer(bytes(self._data[self._at - 8 * count : self._at]), "<u8")
        if (count % 2 or len(np.unique(numbers[::2])) < count // 2) if sparse else count != nlist:
            raise ValueError(f"{count} sizes of {nlist} cells")
        return numbers[1::2] if sparse else numbers


def _check_spec(path: Path, size: int, spec: IndexSpec, full_dim: int, rows: int) -> None:
    """Refuse a spec that nobody resolved, or of more than a file of that size can hold: a blank index is made of it."""
    try:
        sound = resolve(spec, max(rows, 1), full_dim) == spec
    except InvalidSpec as error:
        raise _unreadable(path, str(error)) from error
    turned = any(dict(spec.params).get(name) for name in (AXES, ROTATE))
    if not sound or (turned and 4 * spec.dim * (full_dim if AXES in dict(spec.params) else spec.dim) > size):
        raise _unreadable(path, f"{spec} is not the spec of an index of {rows} rows × {full_dim} in {size} bytes")


def _check_outline(path: Path, size: int, spec: IndexSpec, full_dim: int) -> None:
    """Refuse a file that FAISS cannot be trusted to read."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        try:
            _Outline(data, size - FOOTER.size).check()
        except ValueError as error:
            # A FAISS that writes something else than is known here has to look after itself.
            if _is_known(spec, full_dim):
                raise _unreadable(path, str(error)) from error


def _is_known(spec: IndexSpec, full_dim: int) -> bool:
    """Whether this FAISS writes an index of a spec as `_Outline` expects."""
    blank = faiss.IndexPreTransform(family(spec.family).create(spec))
    for step in reversed(blank_front(spec, full_dim).steps(drawn=False)):
        blank.prepend_transform(step)
    data = faiss.serialize_index(blank)
    try:
        _Outline(data, len(data), blank=True).check()
    except ValueError:
        return False
    return True


def _check_kind(index: FaissIndex, spec: IndexSpec, full_dim: int, rows: int, path: Path) -> None:
    """Check that the index is built like the one its spec makes.

    FAISS takes each size in a file on trust: where one part is shorter than the next expects,
    a search reads memory that is not its own.
    """
    indexer, (chain, inner) = family(spec.family), unwrap(index)
    wanted = [*map(_step, blank_front(spec, full_dim).steps(drawn=False)), *_parts(indexer.create(spec))]
    found = [*map(_step, chain), *_parts(inner)]
    if found != wanted:
        raise _unreadable(path, f"{spec} is made of {wanted}, found {found}")
    matrices = [step for step in chain if isinstance(step, faiss.LinearTransform)]
    if any(matrix.A.size() != matrix.d_in * matrix.d_out for matrix in matrices):
        raise _unreadable(path, "its rotation is not a whole matrix")
    every = (inner, *indexer.parts(inner))
    if not all(part.is_trained for part in (index, *chain, *every)):
        raise _unreadable(path, "it is not trained")
    codes, held = every[-1], {part.ntotal for part in every}
    if held != {rows} or (isinstance(codes, faiss.IndexFlatCodes) and codes.codes.size() != rows * codes.code_size):
        raise _unreadable(path, f"its codes are not those of {rows} rows")
    try:
        check_numbers(faiss.vector_to_array(matrix.A) for matrix in matrices)
        indexer.check(inner, spec, rows)
    except ValueError as error:
        raise _unreadable(path, str(error)) from error


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
    if hasattr(index, "sq"):
        found.append(("sq", index.sq.d, index.sq.qtype, index.sq.code_size))
    if hasattr(index, "pq"):
        found.append(("pq", index.by_residual, index.pq.d, index.pq.M, index.pq.nbits, index.pq.ksub, index.pq.dsub))
    for name in INSIDE:
        if hasattr(index, name):
            found += _parts(faiss.downcast_index(getattr(index, name)))
    return found
