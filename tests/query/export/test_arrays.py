"""FAISS as FAISS reads it; the layout of clip-retrieval as embedding-reader does, and as nestvec takes it back."""

from __future__ import annotations

from pathlib import Path

import faiss
import numpy as np
import pytest

import engine
from tests.foreign import needs_foreign, read_by
from tests.helpers import index
from tests.query.export.made import FIRST_ID, exact, vectors_of

SOME = "n BETWEEN 2 AND 8"


@pytest.mark.parametrize(("where", "space"), [(None, "main"), (SOME, "main"), (SOME, "text")])
def test_faiss_opens_it_and_finds_what_an_exact_search_finds(
    vectors: engine.Collection, tmp_path: Path, where: str | None, space: str
) -> None:
    vectors.export(tmp_path / "v.faiss", "faiss", where=where, space=space)
    found = faiss.read_index(str(tmp_path / "v.faiss"))
    with engine.Collection.open(vectors.root, space=space) as opened:
        ids, xb = vectors_of(opened, where)
        k = min(9, len(ids))
        xq, wanted, scores = exact(opened, k, where)
    assert isinstance(found, faiss.IndexIDMap2)
    assert (found.ntotal, found.d, found.metric_type) == (len(ids), xb.shape[1], faiss.METRIC_INNER_PRODUCT)
    assert faiss.vector_to_array(found.id_map).tolist() == ids.tolist() and ids.min() >= FIRST_ID
    np.testing.assert_array_equal(np.stack([found.reconstruct(int(one)) for one in ids]), xb)
    distances, labels = found.search(xq, k)
    assert labels.tolist() == [one.tolist() for one in wanted]
    np.testing.assert_allclose(distances, scores, atol=1e-6)


def test_it_is_what_faiss_itself_would_write(vectors: engine.Collection, tmp_path: Path) -> None:
    vectors.export(tmp_path / "v.faiss", "faiss")
    ids, xb = vectors_of(vectors)
    theirs = faiss.IndexIDMap2(faiss.IndexFlatIP(xb.shape[1]))
    theirs.add_with_ids(xb, ids)
    faiss.write_index(theirs, str(tmp_path / "theirs.faiss"))
    assert (tmp_path / "v.faiss").read_bytes() == (tmp_path / "theirs.faiss").read_bytes()
    found = faiss.read_index(str(tmp_path / "v.faiss"))
    found.add_with_ids(xb[:2], np.array([1, 2]))  # it goes on as any other
    assert found.ntotal == len(ids) + 2


def test_an_empty_index(vectors: engine.Collection, tmp_path: Path) -> None:
    assert vectors.export(tmp_path / "v.faiss", "faiss", where="n < 0").items == 0
    assert faiss.read_index(str(tmp_path / "v.faiss")).ntotal == 0


READER = """
import json, sys
import numpy as np
from embedding_reader import EmbeddingReader
reader = EmbeddingReader(embeddings_folder=f"{sys.argv[1]}/img_emb", metadata_folder=f"{sys.argv[1]}/metadata",
    file_format="parquet_npy", meta_columns=["id", "image_path", "caption", "tags"])
got, meta = [], []
for one, table in reader(batch_size=64, show_progress=False):
    got.append(one)
    meta += list(zip(*(table[name].tolist() for name in ("id", "image_path", "caption"))))
got = np.concatenate(got)
np.save(sys.argv[2], got)
print(json.dumps({"dim": reader.dimension, "count": int(reader.count), "meta": meta}))
"""


@needs_foreign
def test_embedding_reader_reads_clip_retrieval(vectors: engine.Collection, tmp_path: Path) -> None:
    vectors.export(tmp_path / "clip", "clip-retrieval")
    ids, xb = vectors_of(vectors)
    found = read_by(READER, tmp_path / "clip", tmp_path / "got.npy", scratch=tmp_path)
    assert (found["dim"], found["count"]) == (16, len(ids))
    assert np.load(tmp_path / "clip/img_emb/img_emb_0.npy").dtype == np.float16
    np.testing.assert_array_equal(np.load(tmp_path / "got.npy"), xb)
    assert [one[0] for one in found["meta"]] == ids.tolist()
    items = [vectors.snapshot.item(vectors.snapshot.find_id(int(one))) for one in ids]
    assert [one[1] for one in found["meta"]] == [item.uri for item in items]
    assert found["meta"][1][2] == '"caption" 1, ü'


@pytest.mark.parametrize("where", [None, SOME])
def test_nestvec_takes_clip_retrieval_back(vectors: engine.Collection, tmp_path: Path, where: str | None) -> None:
    vectors.export(tmp_path / "clip", "clip-retrieval", where=where)
    np.testing.assert_array_equal(
        np.load(tmp_path / "clip/img_emb/img_emb_0.npy").astype(np.float32), vectors_of(vectors, where)[1]
    )
    index(tmp_path / "back.nest", tmp_path / "clip")
    names = ["path", "caption", "n", "day", "at", "price", "big", "tags", "place", "raw"]
    with engine.Collection.open(tmp_path / "back.nest") as back:
        for (_, one), (_, other) in zip(back.vectors(), vectors.vectors(where), strict=False):
            np.testing.assert_allclose(one[:5], other[:5], atol=1e-3)
        ours = [row for batch in vectors.scan(where, ["id", *names]) for row in batch.to_pylist()]
        theirs = [row for batch in back.scan(None, ["meta.id", *names]) for row in batch.to_pylist()]
    assert [row.pop("meta.id") for row in theirs] == [row.pop("id") for row in ours]
    assert theirs == ours


def test_an_empty_layout_of_clip_retrieval(vectors: engine.Collection, tmp_path: Path) -> None:
    assert vectors.export(tmp_path / "clip", "clip-retrieval", where="n < 0").items == 0
    assert np.load(tmp_path / "clip/img_emb/img_emb_0.npy").shape == (0, 16)
