"""Parquet with pictures as `datasets` decodes them, and as nestvec takes them back."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import engine
from indexers.errors import InvalidInput
from tests.foreign import needs_foreign, read_by
from tests.helpers import index, needs_bundled
from tests.query.export.made import NAME, originals, vectors_of

pytestmark = needs_bundled

READER = """
import json, sys
import numpy as np
from datasets import load_dataset
data = load_dataset(sys.argv[1], split="train", cache_dir=sys.argv[2])
rows = [(row["id"], row["caption"], row["stars"], list(row["image"].size), int(np.asarray(row["image"]).sum()),
    row["image"].format, row["vector"]) for row in data]
print(json.dumps({"rows": rows, "features": {name: str(kind) for name, kind in data.features.items()}}))
"""


@needs_foreign
def test_datasets_decodes_the_pictures(photos: engine.Collection, tmp_path: Path) -> None:
    done = photos.export(tmp_path / "hf", "huggingface", options=engine.ExportOptions(vectors=True))
    assert (done.items, done.left_out) == (9, ())
    found = read_by(READER, tmp_path / "hf", tmp_path / "cache", scratch=tmp_path)
    assert found["features"]["image"].startswith("Image(") and found["features"]["id"] == "Value('int64')"
    ids, xb = vectors_of(photos)
    assert [row[0] for row in found["rows"]] == ids.tolist()
    np.testing.assert_array_equal(np.array([row[6] for row in found["rows"]], np.float32), xb)
    for (own, data), (theirs, caption, stars, size, total, kind, _) in zip(
        originals(photos), found["rows"], strict=True
    ):
        item, picture = photos.snapshot.item(photos.snapshot.find_id(own)), Image.open(io.BytesIO(data))
        assert (own, list(picture.size), int(np.asarray(picture).sum())) == (theirs, size, total)
        assert kind == picture.format and (caption, stars) == (item.caption, item.meta["stars"])


def test_bytes_are_as_they_were_and_parts_are_numbered(
    photos: engine.Collection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.query.export.huggingface.SHARD_BYTES", 1500)
    monkeypatch.setattr("engine.query.export.writing.PICTURE_BYTES", 600)
    photos.export(tmp_path / "hf", "huggingface", where="NOT name = '5.png'")
    files = sorted((tmp_path / "hf/data").iterdir())
    assert len(files) > 2
    assert [one.name for one in files] == [f"train-{at:05d}-of-{len(files):05d}.parquet" for at in range(len(files))]
    table = pa.concat_tables([pq.read_table(one) for one in files])
    told = {row["id"]: row["image"] for row in table.select(["id", "image"]).to_pylist()}
    wanted = dict(originals(photos))
    left = photos.matching("name = '5.png'")[0]
    assert {number: image["bytes"] for number, image in told.items()} == {
        number: data for number, data in wanted.items() if number != left
    }
    assert "caf%E9.png" in {image["path"] for image in told.values()} and NAME.endswith("\udce9.png")


def test_nestvec_takes_it_back(photos: engine.Collection, tmp_path: Path) -> None:
    photos.export(tmp_path / "hf", "huggingface")
    index(tmp_path / "back.nest", tmp_path / "hf")
    with engine.Collection.open(tmp_path / "back.nest", device="cpu") as back:
        np.testing.assert_allclose(vectors_of(back)[1], vectors_of(photos)[1], atol=2e-3)
        captions = [row["caption"] for batch in back.scan(None, ["caption"]) for row in batch.to_pylist()]
        assert captions == [row["caption"] for batch in photos.scan(None, ["caption"]) for row in batch.to_pylist()]


def test_no_picture_at_all_and_no_picture_possible(
    photos: engine.Collection, vectors: engine.Collection, tmp_path: Path
) -> None:
    assert photos.export(tmp_path / "none", "huggingface", where="id < 0").items == 0
    [file] = (tmp_path / "none/data").iterdir()
    assert pq.read_table(file).num_rows == 0
    with pytest.raises(InvalidInput, match="holds vectors and no pictures, which huggingface consists of"):
        vectors.export(tmp_path / "v", "huggingface")
