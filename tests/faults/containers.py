"""Tar, zip and Parquet files of pictures that are changed, and the work of listing and reading them."""

from __future__ import annotations

import io
import random
import tarfile
import zipfile
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from engine.collection.manifest import Source
from engine.collection.originals import read_below
from engine.ingest.containers import ContainerListing
from engine.ingest.entries import read_file
from indexers.errors import PictureError
from tests.faults.bases import Base, Seed, pictures
from tests.faults.makers import make_table
from tests.faults.mutate import mutate

MOST_BYTES = 64 << 20


def containers(base: Base) -> list[Seed]:
    """Return a container of every kind with a few pictures and what is said of them."""
    drawn = [seed.data for seed in pictures(base)[:4]]
    members = [(f"a folder/{n:03}.jpg", data) for n, data in enumerate(drawn)]
    members += [(f"a folder/{n:03}.txt", b"a caption") for n in range(4)]
    members += [(f"a folder/{n:03}.json", b'{"width": 8, "caption": "a"}') for n in range(4)]
    members += [("n" * 120 + ".jpg", drawn[0])]
    seeds = []
    for name, format in (("ustar", tarfile.USTAR_FORMAT), ("gnu", tarfile.GNU_FORMAT), ("pax", tarfile.PAX_FORMAT)):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=format) as tar:
            for member, data in members[: -1 if name == "ustar" else None]:
                info = tarfile.TarInfo(member)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
        seeds.append(Seed(f"{name}.tar", out.getvalue()))
    for name, how in (("stored", zipfile.ZIP_STORED), ("deflated", zipfile.ZIP_DEFLATED)):
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", how) as packed:
            for member, data in members:
                packed.writestr(member, data)
        seeds.append(Seed(f"{name}.zip", out.getvalue()))
    rows = pa.array(
        [{"bytes": data, "path": f"{n}.jpg"} for n, data in enumerate(drawn)] + [None],
        pa.struct([("bytes", pa.binary()), ("path", pa.string())]),
    )
    texts = [f"text {n}" for n in range(5)]
    for name, columns in (("structs", {"image": rows}), ("bytes", {"jpg": pa.array([*drawn, None], pa.binary())})):
        out = io.BytesIO()
        pq.write_table(pa.table({**columns, "text": texts, "label": list(range(5))}), out, row_group_size=2)
        seeds.append(Seed(f"{name}.parquet", out.getvalue()))
    return seeds


def make_container(base: Base, seed: Seed, rng: random.Random, others: Sequence[bytes]) -> bytes:
    """Change a container; most headers of a tar file have the right sums again."""
    if seed.slot.endswith(".parquet"):
        return make_table(base, seed, rng, others)
    data = mutate(seed.data, rng, others)
    return _with_sums(data) if seed.slot.endswith(".tar") and rng.random() < 0.8 else data


def _with_sums(data: bytes) -> bytes:
    """Make the sums of all blocks right that say they are headers."""
    out = bytearray(data)
    for at in range(0, len(data) - 511, 512):
        if data[at + 257 : at + 262] == b"ustar":
            block = out[at : at + 148] + b" " * 8 + out[at + 156 : at + 512]
            out[at + 148 : at + 156] = b"%06o\0 " % sum(block)
    return bytes(out)


def work_container(base: Base, slot: str, data: bytes) -> None:
    """List a container and read all that is in it, in order and by path."""
    path = base.folder / f"hostile-{slot}"
    path.write_bytes(data)
    found = list(ContainerListing(Source("s", "container", str(path)), path).entries())
    total = 0
    for entry in found:
        if entry.problem is None and entry.size <= MOST_BYTES and total < MOST_BYTES:
            for read in (lambda one: read_file(one), lambda one: read_below(str(base.folder), one.path)):
                try:
                    total += len(read(entry))
                except (PictureError, OSError):
                    continue
