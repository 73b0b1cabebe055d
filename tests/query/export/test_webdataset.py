"""Tar files as webdataset reads them, and as nestvec takes them back."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import engine
from tests.foreign import needs_foreign, read_by
from tests.helpers import index, needs_bundled
from tests.query.export.made import originals, vectors_of

pytestmark = needs_bundled

READER = """
import base64, json, sys
sys.modules["torch"] = None  # which it imports for seconds, and does not need
import webdataset as wds
files = dict(shardshuffle=False, empty_check=False)
raw = [{name: one if isinstance(one, str) else base64.b64encode(one).decode() for name, one in sample.items()
    if name != "__local_path__"} for sample in wds.WebDataset(sys.argv[1:], **files)]
decoded = [[name, list(one.size)] for sample in wds.WebDataset(sys.argv[1:], **files).decode("pil")
    for name, one in sample.items() if name in ("png", "jpg")]
print(json.dumps({"raw": raw, "decoded": decoded}))
"""


@needs_foreign
@pytest.mark.parametrize("items", [10_000, 4])
def test_webdataset_reads_each_item_with_what_belongs_to_it(
    photos: engine.Collection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, items: int
) -> None:
    monkeypatch.setattr("engine.query.export.webdataset.SHARD_ITEMS", items)
    assert photos.export(tmp_path / "wds", "webdataset", options=engine.ExportOptions(vectors=True)).items == 9
    files = sorted((tmp_path / "wds").iterdir())
    assert [one.name for one in files] == [f"{at:06d}.tar" for at in range(1 if items > 9 else 3)]
    found = read_by(READER, *files, scratch=tmp_path)
    ids, xb = vectors_of(photos)
    assert [int(sample["__key__"]) for sample in found["raw"]] == ids.tolist()
    for sample, (number, data), vector in zip(found["raw"], originals(photos), xb, strict=True):
        item = photos.snapshot.item(photos.snapshot.find_id(number))
        kind = {"JPEG": "jpg", "PNG": "png"}[str(Image.open(io.BytesIO(data)).format)]
        parts = {name: base64.b64decode(one) for name, one in sample.items() if not name.startswith("__")}
        assert parts[kind] == data and len(parts) == 3 + (item.caption is not None)
        assert parts.get("txt") == (None if item.caption is None else item.caption.encode())
        told = json.loads(parts["json"])
        assert (told["id"], told["path"], told["stars"]) == (number, item.path, item.meta["stars"])
        np.testing.assert_array_equal(np.load(io.BytesIO(parts["npy"])), vector)
    assert sorted(found["decoded"]) == [["jpg", [64, 48]], *[["png", [64, 48]]] * 8]


def test_nestvec_takes_it_back(photos: engine.Collection, tmp_path: Path) -> None:
    photos.export(tmp_path / "wds", "webdataset")
    index(tmp_path / "back.nest", tmp_path / "wds")
    with engine.Collection.open(tmp_path / "back.nest", device="cpu") as back:
        np.testing.assert_allclose(vectors_of(back)[1], vectors_of(photos)[1], atol=2e-3)
        theirs = [
            list(row.values())
            for batch in back.scan(None, ["meta.id", "caption", "stars"])
            for row in batch.to_pylist()
        ]
        ours = [
            list(row.values()) for batch in photos.scan(None, ["id", "caption", "stars"]) for row in batch.to_pylist()
        ]
    assert theirs == ours


@needs_foreign
def test_nothing_at_all(photos: engine.Collection, tmp_path: Path) -> None:
    assert photos.export(tmp_path / "wds", "webdataset", where="id < 0").items == 0
    assert read_by(READER, tmp_path / "wds/000000.tar", scratch=tmp_path) == {"raw": [], "decoded": []}


@pytest.mark.parametrize(
    ("data", "path", "suffix"),
    [
        (b"\xff\xd8\xff\xe0", "a.PNG", "jpg"),
        (b"II*\0", "a.nef", "nef"),
        (b"II*\0", "a.jpg", "tif"),
        (b"FUJIFILMCCD-RAW 0201", "b.RAF", "raf"),
        (b"nothing that is known", "c.d.e", "bin"),
        (b"nothing that is known", "c.ico", "ico"),
    ],
)
def test_a_picture_is_called_by_what_it_is(data: bytes, path: str, suffix: str) -> None:
    from engine.query.export.webdataset import _suffix

    assert _suffix(data, path) == suffix
