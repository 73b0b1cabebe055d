"""Arrays: `.npy`, mapped; `.npz`, a piece of an array at a time; safetensors, mapped. Nothing is ever unpickled."""

from __future__ import annotations

import json
import math
import os
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, BinaryIO

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from engine.ingest.formats.columns import VECTOR_COLUMNS, Choice, no_such
from engine.ingest.formats.rows import ROWS_AT_ONCE, Rows, of_matrix
from engine.ingest.tables import CAPTION_COLUMNS, NAME_COLUMNS, check_names, shown_names
from engine.storage.parquet import MOST_EXPANDED, most_expanded
from engine.storage.regular import opened_regular
from indexers.errors import SourceError
from indexers.npy import map_array, read_header

BYTES_AT_ONCE = 64 << 20
ENDING = ".npy"
# Savers say in the plural what tables say in the singular.
SINGULAR = {f"{name}s": name for name in (*NAME_COLUMNS, *CAPTION_COLUMNS, "id")}
BROKEN = (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError)
TENSORS = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "V2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1"}
TENSORS |= {"U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "u1", "BOOL": "?"}
MOST_TENSOR_HEADER = 16 << 20

Shape = tuple[int, ...]


def is_matrix(dtype: np.dtype[Any], shape: Shape) -> bool:
    """Whether an array may be vectors: two axes, real numbers, bfloat16 among them."""
    return len(shape) == 2 and (dtype.kind in "fiu" or is_bfloat16(dtype)) and not (shape[0] and not shape[1])


def is_bfloat16(dtype: np.dtype[Any]) -> bool:
    """Whether numbers are bfloat16: NumPy, which has no such type, writes them as two bytes of no type."""
    return dtype.kind == "V" and dtype.itemsize == 2


def real(numbers: NDArray[Any]) -> NDArray[Any]:
    """Return numbers as a type of NumPy's: bfloat16 is the upper half of a float32."""
    if not is_bfloat16(numbers.dtype):
        return numbers
    halves = np.ascontiguousarray(numbers).view(np.uint16)
    return (halves.astype(np.uint32) << 16).view(np.float32)


# -- .npy ----------------------------------------------------------------------------------


def choose_npy(path: Path, wanted: str | None) -> Choice:
    """Say where a `.npy` has its vectors: everywhere."""
    return Choice(("",))


def read_npy_rows(path: Path, choice: Choice) -> Iterator[Rows]:
    """Read the rows of a `.npy`.

    Raises:
        SourceError: it is none, or holds something else.
    """
    try:
        with opened_regular(path) as file:
            matrix = map_array(file)
    except (ValueError, OSError) as error:
        raise SourceError(f"{path} is not a .npy file of vectors: {error}") from error
    if not is_matrix(matrix.dtype, matrix.shape):
        raise SourceError(f"{path}: expected numbers of shape [n, D], found {matrix.dtype} {list(matrix.shape)}")
    for start in range(0, len(matrix), ROWS_AT_ONCE):
        yield of_matrix(real(matrix[start : start + ROWS_AT_ONCE]), pa.table({}))


# -- .npz ----------------------------------------------------------------------------------


@contextmanager
def _unzipped(path: Path) -> Iterator[dict[str, tuple[zipfile.ZipFile, zipfile.ZipInfo]]]:
    """Open a `.npz`; what is read of it is no more than a file of its size can be meant to hold."""
    try:
        with opened_regular(path) as file, zipfile.ZipFile(file) as archive:
            size = os.fstat(file.fileno()).st_size
            infos = [info for info in archive.infolist() if info.filename.endswith(ENDING)]
            names = [info.filename.removesuffix(ENDING) for info in infos]
            check_names(names, path)
            if sum(info.file_size for info in infos) > most_expanded(size):
                raise ValueError(f"its arrays expand to more than {size:,} bytes can hold")
            if any(info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for info in infos):
                raise ValueError("its arrays are compressed in a way that NumPy does not")
            yield {name: (archive, info) for name, info in zip(names, infos, strict=True)}
    except BROKEN as error:
        raise SourceError(f"{path} cannot be read as .npz: {error}") from error


def _heads(arrays: Mapping[str, tuple[zipfile.ZipFile, zipfile.ZipInfo]]) -> dict[str, tuple[np.dtype[Any], Shape]]:
    found = {}
    for name, (archive, info) in arrays.items():
        with archive.open(info) as member:
            shape, _, dtype, start = read_header(member)
            if dtype.hasobject:
                raise ValueError(f"array {name!r} is of Python objects, which are not read; save texts as dtype=str")
            if math.prod(shape) * dtype.itemsize != info.file_size - start:
                raise ValueError(f"array {name!r} is not as long as it says")
            found[name] = dtype, shape
    return found


def choose_npz(path: Path, wanted: str | None) -> Choice:
    """Say which array of a `.npz` is the vectors.

    Raises:
        SourceError: it cannot be read, or there are none, or several and nobody has said which.
    """
    with _unzipped(path) as arrays:
        return _pick(path, _heads(arrays), wanted)


def _pick(path: Path, heads: Mapping[str, tuple[np.dtype[Any], Shape]], wanted: str | None) -> Choice:
    found = [name for name, (dtype, shape) in heads.items() if is_matrix(dtype, shape)]
    if wanted is not None and wanted not in found:
        if wanted in heads:
            dtype, shape = heads[wanted]
            raise SourceError(f"{path}: expected numbers of shape [n, D] in {wanted!r}, found {dtype} {list(shape)}")
        raise SourceError(no_such(path, wanted, list(heads)))
    if not found:
        raise SourceError(f"{path}: expected an array of numbers of shape [n, D], found {shown_names(list(heads))}")
    usual = [name for name in found if name in (*VECTOR_COLUMNS, *(f"{one}s" for one in VECTOR_COLUMNS))]
    taken = wanted or (found[0] if len(found) == 1 else usual[0] if len(usual) == 1 else None)
    if taken is None:
        raise SourceError(f"{path} has several arrays of vectors: {shown_names(found)}; name one with --vectors")
    count = heads[taken][1][0]
    beside = {name: head for name, head in heads.items() if name not in found and head[1][:1] == (count,)}
    unread = tuple(
        f"{name} ({dtype} {list(shape)})" for name, (dtype, shape) in beside.items() if not _is_column(dtype, shape)
    )
    return Choice((taken,), tuple(name for name in found if name != taken), unread=unread)


def read_npz_rows(path: Path, choice: Choice) -> Iterator[Rows]:
    """Read the rows of a `.npz`, and the arrays that lie row for row beside them."""
    with _unzipped(path) as arrays:
        heads = _heads(arrays)
        (taken,) = _pick(path, heads, choice.columns[0]).columns
        (_, (count, _)) = heads[taken]
        beside = {
            name: _whole(arrays[name])
            for name, (dtype, shape) in heads.items()
            if _lies_beside(name, dtype, shape, count, path)
        }
        yield from _with_columns(_pieces(arrays[taken]), beside)


_TIMES = tuple((unit, 1) for unit in ("D", "s", "ms", "us", "ns"))


def _is_column(dtype: np.dtype[Any], shape: Shape) -> bool:
    return len(shape) == 1 and dtype.kind in "USfiubMm"


def _lies_beside(name: str, dtype: np.dtype[Any], shape: Shape, count: int, path: Path) -> bool:
    if not _is_column(dtype, shape):
        return False
    if shape[0] != count and name in (*SINGULAR, *SINGULAR.values()):
        raise SourceError(f"{path}: {name!r} has {shape[0]} rows beside {count} vectors")
    return shape[0] == count


def _with_columns(pieces: Iterator[NDArray[Any]], beside: Mapping[str, NDArray[Any]]) -> Iterator[Rows]:
    at = 0
    for piece in pieces:
        parts = {SINGULAR.get(name, name): _arrow(array[at : at + len(piece)]) for name, array in beside.items()}
        yield of_matrix(piece, named_by_ids(pa.table(parts)))
        at += len(piece)


def _arrow(array: NDArray[Any]) -> pa.Array:
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    if array.dtype.kind in "Mm" and np.datetime_data(array.dtype) not in _TIMES[array.dtype.kind == "m" :]:
        array = array.astype(f"{array.dtype.kind}8[s]")  # hours, months and steps of several have no type in Arrow
    return pa.array(array)


def named_by_ids(columns: pa.Table) -> pa.Table:
    """Return columns with a name for each row where there are only ids."""
    if "id" not in columns.column_names or any(name in NAME_COLUMNS for name in columns.column_names):
        return columns
    return columns.append_column("name", pa.array([str(one) for one in columns.column("id").to_pylist()]))


def _whole(array: tuple[zipfile.ZipFile, zipfile.ZipInfo]) -> NDArray[Any]:
    archive, info = array
    if info.file_size > MOST_EXPANDED:
        raise ValueError(f"array {info.filename.removesuffix(ENDING)!r} takes more than {MOST_EXPANDED:,} bytes")
    with archive.open(info) as member:
        shape, in_columns, dtype, _ = read_header(member)
        flat = np.frombuffer(member.read(), dtype)
    return flat.reshape(shape, order="F" if in_columns else "C")


def _pieces(array: tuple[zipfile.ZipFile, zipfile.ZipInfo]) -> Iterator[NDArray[Any]]:
    """Yield some rows of a matrix at a time."""
    archive, info = array
    with archive.open(info) as member:
        (count, dim), in_columns, dtype, _ = read_header(member)
        if in_columns:
            whole = _whole(array)
            yield from (real(whole[start : start + ROWS_AT_ONCE]) for start in range(0, count, ROWS_AT_ONCE))
            return
        row = dim * dtype.itemsize
        step = max(1, min(ROWS_AT_ONCE, BYTES_AT_ONCE // max(1, row)))
        for start in range(0, count, step):
            rows = min(step, count - start)
            yield real(np.frombuffer(_exactly(member, rows * row), dtype).reshape(rows, dim))


def _exactly(file: IO[bytes], size: int) -> bytes:
    data = file.read(size)
    if len(data) < size:
        raise ValueError("an array ends before its last row")
    return data


# -- safetensors ---------------------------------------------------------------------------


def choose_safetensors(path: Path, wanted: str | None) -> Choice:
    """Say which tensor is the vectors.

    Raises:
        SourceError: as for `choose_npz`.
    """
    with _tensors(path) as (_, tensors):
        return _pick(path, {name: (dtype, shape) for name, (dtype, shape, _) in tensors.items()}, wanted)


def read_safetensors_rows(path: Path, choice: Choice) -> Iterator[Rows]:
    """Read the rows of a tensor, and those of one axis that lie row for row beside it."""
    with _tensors(path) as (file, tensors):
        _, (count, _), _ = tensors[choice.columns[0]]
        matrix = _mapped(file, tensors[choice.columns[0]])
        beside = {
            name: _mapped(file, one) for name, one in tensors.items() if _lies_beside(name, one[0], one[1], count, path)
        }
        pieces = (real(matrix[start : start + ROWS_AT_ONCE]) for start in range(0, count, ROWS_AT_ONCE))
        yield from _with_columns(pieces, beside)


Tensor = tuple[np.dtype[Any], Shape, int]
"""Type, shape, and where in the file it begins."""


def _mapped(file: BinaryIO, tensor: Tensor) -> NDArray[Any]:
    dtype, shape, start = tensor
    if not math.prod(shape):
        return np.empty(shape, dtype)
    return np.memmap(file, dtype, "r", start, shape)


@contextmanager
def _tensors(path: Path) -> Iterator[tuple[BinaryIO, dict[str, Tensor]]]:
    """Open safetensors; what its header says of a tensor is compared with the file before anything is read."""
    try:
        with opened_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            length = int.from_bytes(file.read(8), "little")
            if length > min(MOST_TENSOR_HEADER, size - 8):
                raise ValueError(f"its header of {length:,} bytes is longer than the file, or than any")
            header = json.loads(file.read(length))
            if not isinstance(header, dict):
                raise ValueError("its header is no JSON object")
            header.pop("__metadata__", None)
            check_names(list(header), path)
            found = {name: _tensor(name, said, 8 + length, size) for name, said in header.items()}
            yield file, {name: tensor for name, tensor in found.items() if tensor is not None}
    except (ValueError, OSError, RecursionError, OverflowError) as error:
        raise SourceError(f"{path} cannot be read as safetensors: {error}") from error


def _tensor(name: str, said: Any, start: int, size: int) -> Tensor | None:
    """Check what a header says of a tensor; None for a type that no vectors have."""
    if not isinstance(said, dict):
        raise ValueError(f"tensor {name[:100]!r} is not described")
    shape, places = _sizes(said.get("shape")), _sizes(said.get("data_offsets"))
    if shape is None or places is None or len(places) != 2:
        raise ValueError(f"tensor {name[:100]!r} has no shape or place")
    if str(said.get("dtype")) not in TENSORS:
        return None
    dtype, (begin, end) = np.dtype(TENSORS[said["dtype"]]), places
    if start + end > size or end - begin != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"tensor {name[:100]!r} does not lie where its header says")
    return dtype, shape, start + begin


def _sizes(given: Any) -> Shape | None:
    if isinstance(given, list) and len(given) <= 8 and all(type(one) is int and 0 <= one < 1 << 48 for one in given):
        return tuple(given)
    return None
