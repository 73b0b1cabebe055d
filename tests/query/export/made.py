"""Collections that are exported: vectors with columns of every kind, and pictures from wherever they may lie."""

from __future__ import annotations

import datetime
import io
import os
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import engine
from engine.collection.commit import commit
from indexers.vectors import FloatArray, IdArray, normalize
from tests.helpers import clustered, draw, index

N, DIM, OTHER = 300, 16, 5
FIRST_ID = 2**47 + 1
"""More than 32 bits hold."""

X = normalize(clustered(N, DIM, seed=4))
GONE = (3, 250)


def columns_of(row: int) -> dict[str, Any]:
    """Return the columns of an item; every third lacks most of them."""
    day = datetime.date(2020, 1, 1) + datetime.timedelta(days=row)
    said: dict[str, Any] = {
        "n": row,
        "vector": f"mine {row}",
        "image": row % 2 == 0,
        "share": np.nan if row == 5 else row / 7,
    }
    if row % 3:
        said |= {
            "day": day,
            "at": datetime.datetime(2020, 1, 1, 12, 30, tzinfo=datetime.UTC) + datetime.timedelta(seconds=row),
            "price": Decimal(f"{row}.25"),
            "big": 2**60 + row,
            "tags": [f"t{row % 5}", "ä"],
            "place": {"city": "Köln", "at": [50.9, 6.9]},
            "raw": bytes([row % 256, 255]),
        }
    return said


def rich(folder: Path, first_id: int = FIRST_ID) -> engine.Collection:
    """Make a collection of vectors in two spaces, with large ids, a tail and tombstones."""
    root = folder / "rich.nest"
    made = engine.Collection.create(root, encoder="precomputed", dim=DIM, spaces={"text": OTHER})
    commit(root, lambda now: replace(now, next_id=first_id), operation="reserve")
    made.refresh()
    other = clustered(N, OTHER, seed=5)
    for some in (range(200), range(200, N)):
        made.add_vectors(
            X[some.start : some.stop],
            names=[f"r{row}" for row in some],
            captions=[None if row % 4 == 0 else f'"caption" {row}, ü' for row in some],
            meta=[columns_of(row) for row in some],
            spaces={"text": other[some.start : some.stop]},
        )
        if not some.start:
            made.build()
    made.remove([f"r{row}" for row in GONE])
    return made


def vectors_of(opened: engine.Collection, where: str | None = None) -> tuple[IdArray, FloatArray]:
    """Return ids and vectors as `vectors` gives them."""
    blocks = list(opened.vectors(where))
    return np.concatenate([ids for ids, _ in blocks]), np.concatenate([xb for _, xb in blocks])


def exact(opened: engine.Collection, k: int, where: str | None = None) -> tuple[FloatArray, list[IdArray], FloatArray]:
    """Return queries, and ids and scores that an exact search finds."""
    xq = normalize(clustered(6, opened.space.dim, seed=9))
    found = [opened.search(one, k, exact=True, where=where) for one in xq]
    return xq, [one.ids for one in found], np.stack([one.scores for one in found])


SOURCES = ("photos", "shard.tar", "more.zip", "rows.parquet")
NAME = os.fsdecode(b"caf\xe9.png")


def pictures(folder: Path) -> Path:
    """Make `photos.nest` of a folder, a tar, a zip and a Parquet file, and one more source of vectors beside them."""
    for number in range(4):
        draw(folder / f"photos/2019/p{number}.{'jpg' if number == 2 else 'png'}", number)
        (folder / f"photos/2019/p{number}.txt").write_text(f"caption {number} “ä”")
    draw(folder / "photos" / "x.png", 11).rename(folder / "photos" / NAME)
    with tarfile.open(folder / "shard.tar", "w") as tar:
        for number in (4, 5):
            _into(tar, f"{number}.png", draw(folder / "loose.png", number).read_bytes())
            _into(tar, f"{number}.json", b'{"stars": %d}' % number)
    with zipfile.ZipFile(folder / "more.zip", "w") as packed:
        packed.writestr("in/6.png", draw(folder / "loose.png", 6).read_bytes())
    bytes_ = draw(folder / "loose.png", 7).read_bytes()
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    image = pa.array([{"bytes": bytes_, "path": "7.png"}], kind)
    pq.write_table(pa.table({"image": image, "stars": [7]}), folder / "rows.parquet")
    (folder / "loose.png").unlink()
    assert index(folder / "photos.nest", *(folder / name for name in SOURCES)).added == 9
    return folder / "photos.nest"


def _into(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))


def originals(opened: engine.Collection) -> Iterator[tuple[int, bytes]]:
    """Yield the id of each picture and its bytes, read by hand."""
    for row in opened.snapshot.live.numbers.tolist():
        item = opened.snapshot.item(row)
        path = Path(item.uri)
        if path.is_file():
            data = path.read_bytes()
        elif path.parent.suffix == ".tar":
            with tarfile.open(path.parent) as tar:
                member = tar.extractfile(path.name)
                assert member is not None
                data = member.read()
        elif ".zip" in item.uri:
            with zipfile.ZipFile(item.uri[: item.uri.index(".zip") + 4]) as packed:
                data = packed.read(item.uri.partition(".zip/")[2])
        else:
            data = pq.read_table(path.parent).column("image")[0].as_py()["bytes"]
        yield item.id, data
