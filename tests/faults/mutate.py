"""Damage that somebody meant: bytes and JSON changed at random, and put back as files with right hashes.

A hash says that a file is the one a version lists, not who made it. What changes a file and wants the parsers to see
it renames the file to its new hash and lists that: `readdress`.
"""

from __future__ import annotations

import io
import json
import random
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from blake3 import blake3

from engine.collection.commit import current_version
from engine.storage import layout

MOST_CHANGES = 4
MOST_EXTENSION = 200
INTERESTING = (0, 1, 2, 7, 16, 63, 64, 100, 127, 128, 255, 256, 1000, 4095, 4096, 65_535, 65_536, 1 << 20)
LIMITS = (1 << 31, 1 << 32, 1 << 40, 1 << 62, 1 << 63)
ODD_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2, 0.5, 1e308, float("nan"), float("inf"), 2**31, 2**47, 2**63, 2**70, 10**400),
    *(
        "",
        "main",
        "0",
        "exact",
        "../../etc/passwd",
        "\x00",
        "\ud800",
        "é" * 40,
        "x" * 5000,
        [],
        {},
        [[]],
        [None],
        [0, 0],
    ),
    *({"path": "items/x"}, {"": None}),
)

Mutator = Callable[[bytearray, random.Random, Sequence[bytes]], None]


def _place(data: bytearray, rng: random.Random) -> int:
    """Pick where: headers and footers say more than what is between them."""
    size = max(1, len(data))
    kind = rng.randrange(4)
    if kind == 0:
        return rng.randrange(min(size, 300))
    if kind == 1:
        return max(0, size - 1 - rng.randrange(min(size, 300)))
    return rng.randrange(size) & (~7 if kind == 2 else ~0)


def _flip(data: bytearray, rng: random.Random, others: Sequence[bytes]) -> None:
    data[_place(data, rng)] ^= 1 << rng.randrange(8)


def _overwrite(data: bytearray, rng: random.Random, others: Sequence[bytes]) -> None:
    at, size = _place(data, rng), rng.choice((1, 2, 4, 8, 16))
    data[at : at + size] = bytes([rng.choice((0, 255, 127, 128, rng.randrange(256)))] * len(data[at : at + size]))


def _number(data: bytearray, rng: random.Random, others: Sequence[bytes]) -> None:
    at, size = _place(data, rng), rng.choice((1, 2, 4, 8))
    value = rng.choice((*INTERESTING, *LIMITS, len(data), len(data) // 4)) + rng.choice((0, 0, -1, 1))
    value *= rng.choice((1, 1, -1))
    found = (value % (1 << 8 * size)).to_bytes(size, rng.choice(("little", "big")))
    data[at : at + size] = found[: len(data[at : at + size])]


def _nudge(data: bytearray, rng: random.Random, others: Sequence[bytes]) -> None:
    """Change what may be a length or an offset a little, or a lot."""
    size = rng.choice((4, 8))
    for _ in range(200):
        at = _place(data, rng)
        value = int.from_bytes(data[at : at + size], "little")
        if 0 < value <= max(len(data), 1000) and at + size <= len(data):
            changed = rng.choice((value + 1, value - 1, value * 2, value // 2, value * 1000, value + 64, -value))
            data[at : at + size] = (changed % (1 << 8 * size)).to_bytes(size, "little")
            return


def _float(data: bytearray, rng: random.Random, others: Sequence[bytes]) -> None:
    at = _place(data, rng) & ~3
    kind = rng.choice(("<f", "<d", "<e"))
    value = rng.choice((float("nan"), float("inf"), float("-inf"), 0.0, -1.0, 6e4))
    if kind != "<e":
        value = rng.choice((value, 3e38, -3e38, 1e-38))
    found = struct.pack(kind, value) * rng.choice((1, 1, 8))
    data[at : at + len(found)] = found[: len(data[at : at + len(found)])]


def _truncate(data: bytearray, rng: random.Random, others: Sequence[bytes]) -> None:
    del data[_place(data, rng) :]


def _extend(data: bytearray, rng: random.Random, others: Sequence[bytes]) -> None:
    size = rng.randrange(1, MOST_EXTENSION)
    data += rng.choice((bytes(size), b"\xff" * size, rng.randbytes(size), bytes(data[:size])))


def _splice(data: bytearray, rng: random.Random, others: Sequence[bytes]) -> None:
    source = rng.choice((bytes(data), *others))
    start, size = rng.randrange(max(1, len(source))), rng.randrange(1, 256)
    part, at = source[start : start + size], _place(data, rng)
    end = at + len(part) if rng.random() < 0.7 else at
    data[at:end] = part[: len(data[at:end])] if end > at else part


def _remove(data: bytearray, rng: random.Random, others: Sequence[bytes]) -> None:
    at = _place(data, rng)
    del data[at : at + rng.choice((1, 2, 4, 8, 64))]


MUTATORS: tuple[Mutator, ...] = (
    *(_flip, _overwrite, _number, _number, _nudge, _nudge, _float, _splice),
    *(_truncate, _extend, _remove),
)


def mutate(data: bytes, rng: random.Random, others: Sequence[bytes] = ()) -> bytes:
    """Change bytes in one to four places.

    Args:
        data: what is changed.
        rng: decides everything, so that a seed gives the same bytes again.
        others: files from which parts may come.
    """
    out = bytearray(data)
    for _ in range(rng.randint(1, MOST_CHANGES)):
        rng.choice(MUTATORS)(out, rng, others)
        if not out:
            out += b"\0"
    return bytes(out)


def mutate_json(value: Any, rng: random.Random) -> Any:
    """Change a JSON value: something in it becomes something odd, goes, comes twice or lies very deep."""
    value = json.loads(json.dumps(value))
    for _ in range(rng.randint(1, 2)):
        holder, key = _somewhere(value, rng)
        kind = rng.randrange(7)
        if kind == 0:
            del holder[key]
        elif kind == 1:
            holder[key] = [holder[key]] * rng.choice((1, 2, 50))
        elif kind == 2 and isinstance(holder[key], int | float):
            holder[key] = holder[key] + rng.choice((1, -1, 64, 2**31, 2**45, -(2**63)))
        elif kind == 3 and isinstance(holder, list):
            rng.shuffle(holder)
        elif kind == 4 and isinstance(holder[key], str) and holder[key]:
            holder[key] = mutate(holder[key].encode(), rng).decode("latin-1")
        else:
            holder[key] = rng.choice(ODD_VALUES)
        if not value:
            break
    return value


def _somewhere(value: Any, rng: random.Random) -> tuple[Any, Any]:
    """Pick a place in a JSON value: what holds it, and its key."""
    places: list[tuple[Any, Any]] = []
    waiting = [value]
    while waiting:
        holder = waiting.pop()
        keys = list(holder) if isinstance(holder, dict) else range(len(holder))
        places += [(holder, key) for key in keys]
        waiting += [holder[key] for key in keys if isinstance(holder[key], dict | list)]
    return rng.choice(places)


def rehashed(body: str) -> bytes:
    """Return a version file with this body: with the right hash, whatever the body is."""
    return f'{{"blake3":"{blake3(body.encode()).hexdigest()}","body":{body}}}\n'.encode("ascii", "replace")


def readdress(root: Path, old: str, data: bytes) -> str:
    """Put bytes in place of a file of a collection's newest version, as if that version had always listed them.

    Everything that follows from the file's name follows it: tombstones, and the digests of derived files.

    Args:
        root: the collection. Its newest version is written anew; the old file stays where it is.
        old: path of the file, as the version lists it.
        data: what it is to hold.

    Returns:
        path of the new file.
    """
    number = current_version(root)
    body = json.loads((root / layout.version_file(number)).read_text())["body"]
    path = _replace(root, body, old, data)
    shards = [ref["path"] for ref in body["items"]]
    for covering in _dicts(body, "shards_digest"):
        covered = shards[: covering["shards"]]
        covering["shards_digest"] = blake3("\n".join(covered).encode()).hexdigest(length=16)
    (root / layout.version_file(number)).write_bytes(rehashed(json.dumps(body, separators=(",", ":"))))
    return path


def _replace(root: Path, body: Any, old: str, data: bytes) -> str:
    digest = blake3(data).hexdigest()
    folder, _, name = old.rpartition("/")
    new = f"{folder}/{digest[: layout.HASH_DIGITS]}{Path(name).suffix}"
    (root / new).write_bytes(data)
    for ref in _dicts(body, "path"):
        if ref["path"] == old:
            ref |= {"path": new, "size": len(data), "blake3": digest}
    if folder == layout.ITEMS and body["deletes"]:
        table = pq.read_table(root / body["deletes"]["path"], use_threads=False)
        names = [new if name == old else name for name in table.column("shard").to_pylist()]
        moved, out = table.set_column(0, table.schema.field("shard"), pa.array(names)), io.BytesIO()
        pq.write_table(moved, out)
        _replace(root, body, body["deletes"]["path"], out.getvalue())
    return new


def _dicts(value: Any, key: str) -> list[dict[str, Any]]:
    """Return every object of a JSON value that has a key."""
    found = [value] if isinstance(value, dict) and key in value else []
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return found + [one for part in parts for one in _dicts(part, key)]
