"""Arrow files whose batches lie in them as they are; any other is refused by its messages' headers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from engine.storage.messages import map_batches
from tests.storage.test_parquet import counted

SCHEMA = pa.schema([("n", pa.int64()), ("text", pa.string())])


def write(path: Path, batches: int = 3, text: str = "x", **options: Any) -> Path:
    with pa.ipc.new_file(str(path), SCHEMA, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        for number in range(batches):
            writer.write_batch(pa.record_batch([[number, 7], [text, None]], schema=SCHEMA))
    return path


def read(path: Path, check: Callable[[pa.Schema], None] = lambda schema: None) -> list[pa.RecordBatch]:
    return list(map_batches(path, check))


@pytest.mark.parametrize("batches", [0, 1, 5])
def test_batches_come_as_they_were_written_and_nothing_is_copied(tmp_path: Path, batches: int) -> None:
    path = write(tmp_path / "x.arrow", batches, text="x" * 100_000)
    with counted() as pool:
        found = read(path)
    assert pool.max_memory() < 50_000
    assert [batch.column("n").to_pylist() for batch in found] == [[number, 7] for number in range(batches)]
    assert all(batch.column("text").to_pylist() == ["x" * 100_000, None] for batch in found)


@pytest.mark.parametrize("codec", ["zstd", "lz4"])
@pytest.mark.parametrize("size", [1, 30 << 20])
def test_a_compressed_batch_is_refused_by_its_header(tmp_path: Path, codec: str, size: int) -> None:
    path = write(tmp_path / "x.arrow", text="x" * size, compression=codec)
    assert path.stat().st_size < 1 << 19
    with counted() as pool, pytest.raises(pa.ArrowInvalid, match="is compressed"):
        read(path)
    assert pool.max_memory() < 50_000


def test_a_batch_that_says_elsewhere_that_it_is_compressed_is_refused(tmp_path: Path) -> None:
    """Arrow takes the name of a codec from a message's metadata if the message is of the version before."""
    path = write(tmp_path / "x.arrow", metadata_version=pa.ipc.MetadataVersion.V4)
    with pytest.raises(pa.ArrowInvalid, match="another version"):
        read(path)


def test_bytes_that_are_named_several_times_are_refused(tmp_path: Path) -> None:
    """Each column names the same bytes: many could be named by a small file."""
    kinds = pa.schema([(f"c{number}", pa.int64()) for number in range(3)])
    columns = [pa.array(np.arange(100) + number * 1000) for number in range(3)]
    with pa.ipc.new_file(str(tmp_path / "x.arrow"), kinds) as writer:
        writer.write_batch(pa.record_batch(columns, schema=kinds))
    data = (tmp_path / "x.arrow").read_bytes()
    places = np.array([[0, 0], [0, 800], [800, 0], [800, 800], [1600, 0], [1600, 800]], "<i8")
    assert data.count(places.tobytes()) == 1
    all_of_them = np.array([[0, 0], [0, 2400]] * 3, "<i8")
    (tmp_path / "x.arrow").write_bytes(data.replace(places.tobytes(), all_of_them.tobytes()))
    with pytest.raises(pa.ArrowInvalid, match="same bytes several times"):
        read(tmp_path / "x.arrow")


def test_dictionaries_and_other_messages_are_refused(tmp_path: Path) -> None:
    table = pa.table({"c": pa.array(["x", "y"]).dictionary_encode()})
    with pa.ipc.new_file(str(tmp_path / "x.arrow"), table.schema) as writer:
        writer.write_table(table)
    with pytest.raises(pa.ArrowInvalid, match="message of type 'dictionary'"):
        read(tmp_path / "x.arrow")


@pytest.mark.parametrize("data", [b"", b"ARROW1", b"ARROW1\0\0", b"PAR1" * 9, b"ARROW1\0\0" + b"\xff" * 40])
def test_what_is_no_arrow_file(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x.arrow").write_bytes(data)
    with pytest.raises((pa.ArrowInvalid, OSError)):
        read(tmp_path / "x.arrow")


def test_lists_in_lists_end_in_an_error(tmp_path: Path) -> None:
    kind = pa.int64()
    for _ in range(3000):
        kind = pa.list_(kind)
    with pa.ipc.new_file(str(tmp_path / "x.arrow"), pa.schema([("c", kind)])):
        pass
    with pytest.raises((pa.ArrowInvalid, OSError)):
        read(tmp_path / "x.arrow")


def test_the_schema_is_looked_at_first(tmp_path: Path) -> None:
    def refuse(schema: pa.Schema) -> None:
        raise LookupError(schema.names)

    with pytest.raises(LookupError, match="text"):
        read(write(tmp_path / "x.arrow", compression="zstd"), refuse)


def test_any_byte_may_be_another(tmp_path: Path) -> None:
    path = write(tmp_path / "x.arrow", 1)
    whole = path.read_bytes()
    for at in range(0, len(whole), 2):
        path.write_bytes(whole[:at] + bytes([(0x00, 0x7F, 0xFF)[at % 3]]) + whole[at + 1 :])
        try:
            for batch in read(path):
                batch.validate()
        except (pa.ArrowException, OSError, UnicodeDecodeError):
            continue
