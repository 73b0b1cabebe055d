"""Arrow IPC files of plain batches, mapped: nothing in them is copied or unpacked.

Arrow unpacks a compressed batch as soon as it is asked for it, and its API does not tell beforehand. A message's header
does: a FlatBuffer (https://flatbuffers.dev/internals, https://arrow.apache.org/docs/format/Columnar.html), which Arrow
has verified by the time it hands it out.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa

from engine.storage.regular import check_regular

MAGIC = b"ARROW1\0\0"

# Fields of the FlatBuffers, by place: two of a message, two of a batch.
VERSION, HEADER = 0, 2
BUFFERS, COMPRESSION = 2, 3
V5 = 4
"""The version of the messages nestvec writes; in the one before, a message can be compressed and say so elsewhere."""


def map_batches(path: Path, check: Callable[[pa.Schema], None]) -> Iterator[pa.RecordBatch]:
    """Yield the batches of a file, which lie in it as they are.

    The messages are read one after the other, as they were written; the list of them at the end of the file could name
    one many times.

    Args:
        path: the file.
        check: looks at the schema before any batch is read, and raises what it likes.

    Raises:
        ArrowInvalid: it is no such file, or a batch is compressed, or names the same bytes several times.
        OSError: it cannot be read.
    """
    check_regular(path, own=True)
    with pa.memory_map(str(path)) as file:
        if file.read(len(MAGIC)) != MAGIC:
            raise pa.ArrowInvalid("it does not begin as an Arrow file does")
        messages = iter(pa.ipc.MessageReader.open_stream(file))
        first = next(messages, None)
        if first is None or first.type != "schema":
            raise pa.ArrowInvalid("it does not begin with a schema")
        schema = pa.ipc.read_schema(first)
        check(schema)
        for message in messages:
            _check_plain(message)
            yield pa.ipc.read_record_batch(message, schema)


def _check_plain(message: pa.Message) -> None:
    """Refuse what is no batch, or of which more would come than there is of it."""
    if message.type != "record batch":
        raise pa.ArrowInvalid(f"expected batches alone, found a message of type {message.type!r}")
    data = message.metadata.to_pybytes()
    try:
        said = _at(data, 0)
        version, header = _field(data, said, VERSION), _field(data, said, HEADER)
        if version is None or header is None or struct.unpack_from("<h", data, version)[0] != V5:
            raise pa.ArrowInvalid("a message is of another version than nestvec writes")
        batch = _at(data, header)
        if _field(data, batch, COMPRESSION) is not None:
            raise pa.ArrowInvalid("a batch is compressed, which nestvec does not write")
        lengths = _lengths(data, _field(data, batch, BUFFERS))
    except struct.error as error:
        raise pa.ArrowInvalid(f"the header of a batch cannot be read: {error}") from error
    if sum(lengths) > (message.body.size if message.body is not None else 0):
        raise pa.ArrowInvalid("a batch names the same bytes several times")


def _lengths(data: bytes, place: int | None) -> list[int]:
    """Return how long each buffer of a batch is."""
    if place is None:
        return []
    listed = _at(data, place)
    (count,) = struct.unpack_from("<I", data, listed)
    return [length for _, length in struct.iter_unpack("<qq", data[listed + 4 :][: 16 * count])]


def _at(data: bytes, place: int) -> int:
    """Follow an offset to where it leads."""
    return int(place + struct.unpack_from("<I", data, place)[0])


def _field(data: bytes, table: int, number: int) -> int | None:
    """Return where a field of a table lies, or None where it is not there."""
    listing = table - struct.unpack_from("<i", data, table)[0]
    if 4 + 2 * number >= struct.unpack_from("<H", data, listing)[0]:
        return None
    offset = struct.unpack_from("<H", data, listing + 4 + 2 * number)[0]
    return table + offset if offset else None
