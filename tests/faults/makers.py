"""How hostile files are made of whole ones, format by format."""

from __future__ import annotations

import io
import json
import random
import struct
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.faults.bases import Base, Seed
from tests.faults.mutate import mutate, mutate_json, rehashed


def change_bytes(base: Base, seed: Seed, rng: random.Random, others: Sequence[bytes]) -> bytes:
    return mutate(seed.data, rng, others)


def make_version(base: Base, seed: Seed, rng: random.Random, others: Sequence[bytes]) -> bytes:
    kind = rng.randrange(6)
    if kind == 0:
        return mutate(seed.data, rng)
    if kind == 1:
        return rehashed(mutate(base.body.encode(), rng).decode("latin-1"))
    if kind == 2:
        deep = "[" * rng.choice((100, 5000, 200_000))
        return rehashed(base.body.replace('"next_id":', f'"deep":{deep},"next_id":', 1))
    return rehashed(json.dumps(mutate_json(json.loads(base.body), rng), separators=(",", ":")))


def make_index(base: Base, seed: Seed, rng: random.Random, others: Sequence[bytes]) -> bytes:
    """Change what FAISS wrote; the footer fits what is before it."""
    if rng.random() < 0.05:
        return mutate(seed.data, rng, others)
    inside = mutate(seed.data[:-16], rng, others)
    return inside + b"nestidx\x01" + len(inside).to_bytes(8, "little")


def make_json(base: Base, seed: Seed, rng: random.Random, others: Sequence[bytes]) -> bytes:
    kind = rng.randrange(4)
    if kind == 0:
        return mutate(seed.data, rng)
    if kind == 1:
        return seed.data.replace(b"[", b"[" * rng.choice((5, 5000, 200_000)), 1)
    return json.dumps(mutate_json(json.loads(seed.data), rng)).encode()


def make_head(base: Base, seed: Seed, rng: random.Random, others: Sequence[bytes]) -> bytes:
    (length,) = struct.unpack("<Q", seed.data[:8])
    if rng.random() < 0.5:
        return mutate(seed.data, rng)
    header = json.loads(seed.data[8 : 8 + length])
    if rng.random() < 0.3:
        inner = json.dumps(mutate_json(json.loads(header["__metadata__"]["encoder"]), rng))
        header["__metadata__"]["encoder"] = inner
    text = json.dumps(mutate_json(header, rng)).encode()
    return struct.pack("<Q", len(text)) + text + seed.data[8 + length :]


def make_table(base: Base, seed: Seed, rng: random.Random, others: Sequence[bytes]) -> bytes:
    """Change the bytes of a Parquet file, written as it is or in some other way; or what is in it."""
    if rng.random() < 0.3:
        return mutate(seed.data, rng, others)
    table = pq.read_table(io.BytesIO(seed.data), use_threads=False)
    if rng.random() < 0.05:
        return wide_table(table) if rng.random() < 0.3 else _bomb(table, rng)
    if rng.random() < 0.5:
        table = _odd_table(table, rng)
    out = io.BytesIO()
    try:
        pq.write_table(
            table,
            out,
            compression=rng.choice(("none", "snappy", "zstd", "gzip", "lz4", "brotli")),
            use_dictionary=rng.random() < 0.5,
            write_statistics=rng.random() < 0.5,
            row_group_size=rng.choice((7, 40, 4096)),
            data_page_version=rng.choice(("1.0", "2.0")),
        )
    except pa.ArrowException:
        return mutate(seed.data, rng, others)
    return mutate(out.getvalue(), rng, others) if rng.random() < 0.7 else out.getvalue()


def _bomb(table: pa.Table, rng: random.Random) -> bytes:
    """Make a small Parquet file of which much memory would come: long strings many times over, or many rows."""
    size, times = rng.choice(((20 << 20, 50), (1 << 16, 40_000), (1, 30_000_000)))
    texts = pa.DictionaryArray.from_arrays(pa.array(np.zeros(times, np.int32)), pa.array(["x" * size]))
    odd = pa.table({"path": texts}) if rng.random() < 0.5 else None
    if odd is None:  # the right columns and rows, and one long text in each
        n = table.num_rows
        names = [name for name in table.column_names if pa.types.is_string(table.schema.field(name).type)]
        texts = pa.DictionaryArray.from_arrays(pa.array(np.zeros(n, np.int32)), pa.array(["x" * (20 << 20)]))
        odd = table
        if names:
            name = rng.choice(names)
            odd = table.set_column(table.column_names.index(name), name, texts)
        else:
            odd = table.append_column("meta.long", texts)
    out = io.BytesIO()
    pq.write_table(odd, out, compression="zstd", store_schema=False)
    return out.getvalue()


def wide_table(table: pa.Table, columns: int = 30, size: int = 20 << 20) -> bytes:
    """Make a small Parquet file with one long text in each of many columns: none is much, all together are."""
    texts = pa.DictionaryArray.from_arrays(pa.array(np.zeros(table.num_rows, np.int32)), pa.array(["x" * size]))
    for number in range(columns):
        table = table.append_column(f"meta.wide-{number}", texts)
    out = io.BytesIO()
    pq.write_table(table, out, compression="zstd", store_schema=False, write_statistics=False)
    return out.getvalue()


def packed_lookup(table: pa.Table, batches: int = 5, size: int = 10 << 20) -> bytes:
    """Make a small Arrow file of compressed batches: each has one long caption, and all unpack before one is read."""
    caption = table.schema.get_field_index("caption")
    out = io.BytesIO()
    with pa.ipc.new_file(out, table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        for start in range(0, table.num_rows, -(-table.num_rows // batches)):
            part = table.slice(start, -(-table.num_rows // batches))
            texts = pa.array([number * "y" + "x" * size for number in range(8)] + [None] * (len(part) - 8))
            writer.write_table(part.set_column(caption, table.schema.field("caption"), texts))
    return out.getvalue()


def _odd_table(table: pa.Table, rng: random.Random) -> pa.Table:
    name = rng.choice(table.column_names)
    at, n = table.column_names.index(name), table.num_rows
    kind = rng.randrange(7)
    if kind == 0:
        return table.drop_columns([name])
    if kind == 1:
        return table.slice(0, rng.randrange(n + 1))
    if kind == 2:
        return pa.concat_tables([table] * rng.choice((2, 5)))
    if kind == 3:
        return table.append_column(rng.choice((name, "meta.x")), pa.array([[{"a": None}]] * n))
    column = table.column(name)
    if kind == 4:
        values = column.to_pylist()
        values[rng.randrange(max(1, n)) : rng.randrange(n + 1)] = []
        return table.set_column(at, name, pa.array([*values, *[None] * n][:n], type=column.type))
    values = [rng.choice((0, 1, -1, -5, 2**31 - 1, -(2**31), 2**62, -(2**63))) for _ in range(n)]
    odd: Any = pa.array(values)
    if kind == 5:
        odd = rng.choice((pa.array([str(value) for value in values]), odd.dictionary_encode(), pa.nulls(n)))
    elif pa.types.is_integer(column.type):
        odd = odd.cast(column.type, safe=False)
    return table.set_column(at, name, odd)


def make_lookup(base: Base, seed: Seed, rng: random.Random, others: Sequence[bytes]) -> bytes:
    if rng.random() < 0.7:
        return mutate(seed.data, rng, others)
    table = pa.ipc.open_file(io.BytesIO(seed.data)).read_all()
    if rng.random() < 0.05:
        return packed_lookup(table)
    table = _odd_table(table, rng)
    out = io.BytesIO()
    options = pa.ipc.IpcWriteOptions(compression=rng.choice((None, "zstd", "lz4")))
    with pa.ipc.new_file(out, table.schema, options=options) as writer:
        writer.write_table(table)
    return mutate(out.getvalue(), rng, others) if rng.random() < 0.5 else out.getvalue()


def make_picture(base: Base, seed: Seed, rng: random.Random, others: Sequence[bytes]) -> bytes:
    data = mutate(seed.data, rng, others)
    return _with_sums(data) if seed.slot.startswith("png") and rng.random() < 0.8 else data


def _with_sums(data: bytes) -> bytes:
    """Make the checksums of a PNG's chunks right again."""
    out, at = bytearray(data[:8]), 8
    while at + 12 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        if at + 12 + size > len(data):
            break
        part = data[at + 4 : at + 8 + size]
        out += data[at : at + 4] + part + zlib.crc32(part).to_bytes(4, "big")
        at += 12 + size
    return bytes(out) + data[at:]
