"""Tar files of webdataset: what belongs together has the same name but for its suffix, and lies side by side."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import PurePosixPath

import numpy as np

from engine.encoders.formats import sniff
from engine.query.export.writing import Writing
from engine.storage.kinds import PICTURE_SUFFIXES, RAW_SUFFIXES

SHARD_ITEMS, SHARD_BYTES = 10_000, 1_000_000_000
"""What img2dataset puts into a file, and no more bytes than these, about."""

SUFFIXES = {"JPEG": "jpg", "JPEG2000": "jp2", "HEIF": "heic", "TIFF": "tif"}
"""What a picture is called by its format, where that is not the format's own name."""


def write_webdataset(writing: Writing) -> None:
    """Write `000000.tar` and so on: of each item `ID.jpg` (or as its format is), `ID.txt`, `ID.json` and `ID.npy`."""
    members = _members(writing)
    shard, more = 0, next(members, None)
    while more is not None or not shard:
        count = size = 0
        with tarfile.open(writing.place / f"{shard:06d}.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
            while more is not None and count < SHARD_ITEMS and size < SHARD_BYTES:
                for name, data in more:
                    info = tarfile.TarInfo(name)
                    info.size = len(data)
                    tar.addfile(info, io.BytesIO(data))
                    size += len(data)
                count, more = count + 1, next(members, None)
        shard += 1


def _members(writing: Writing) -> Iterator[list[tuple[str, bytes]]]:
    """Yield what belongs to each item, by name; the columns are in JSON, and the caption by itself too."""
    for block, pictures in writing.pictures(writing.items):
        for at, (data, record) in enumerate(zip(pictures, block.records(), strict=True)):
            item = writing.items.snapshot.item(int(block.rows[at]))
            key = f"{item.id:09d}"
            found = [(f"{key}.{_suffix(data, item.path)}", data), (f"{key}.json", json.dumps(record).encode())]
            if item.caption is not None:
                found.insert(1, (f"{key}.txt", item.caption.encode()))
            if writing.options.vectors:
                found.append((f"{key}.npy", _npy(block.vectors[at])))
            yield found


def _suffix(data: bytes, path: str) -> str:
    """Return what a picture is called by its format, and by its name where that says more: raw files are many."""
    known = sniff(data[:32])
    named = PurePosixPath(path).suffix.lower()
    if known in (None, "raw file"):
        return named[1:] if named in PICTURE_SUFFIXES else "bin"
    if known == "TIFF" and named in RAW_SUFFIXES:  # most of these are TIFF files too
        return named[1:]
    return SUFFIXES.get(str(known), str(known).lower())


def _npy(vector: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.save(out, vector)
    return out.getvalue()
