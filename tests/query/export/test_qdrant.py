"""Points as Qdrant's own engine takes them in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import engine
from engine.collection.cells import as_json
from tests.query.export.made import DIM, FIRST_ID, exact, vectors_of


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_line_is_a_point_with_the_columns_as_json_has_them(vectors: engine.Collection, tmp_path: Path) -> None:
    vectors.export(tmp_path / "v.jsonl", "qdrant")
    points = read(tmp_path / "v.jsonl")
    ids, xb = vectors_of(vectors)
    assert [point["id"] for point in points] == ids.tolist()
    assert (np.array([point["vector"] for point in points], dtype=np.float32) == xb).all()
    for point in points[::7]:
        item = vectors.snapshot.item(vectors.snapshot.find_id(point["id"]))
        payload = point["payload"]
        assert {name: payload[name] for name in item.meta} == as_json(item.meta)
        assert (payload["path"], payload["caption"], payload["width"]) == (item.path, item.caption, 0)
    said = {point["id"] - FIRST_ID: point["payload"] for point in points}
    assert said[5]["share"] is None and said[6]["day"] is None
    assert said[4] | {"day": "2020-01-05", "price": "4.25", "big": 2**60 + 4, "raw": "BP8="} == said[4]
    assert said[4]["at"] == "2020-01-01T12:30:04+00:00" and said[4]["place"] == {"city": "Köln", "at": [50.9, 6.9]}
    assert vectors.export(tmp_path / "n.jsonl", "qdrant", where="n < 0").items == 0
    assert (tmp_path / "n.jsonl").read_bytes() == b""


@pytest.mark.parametrize("where", [None, "n BETWEEN 2 AND 8"])
def test_qdrant_finds_what_an_exact_search_finds(vectors: engine.Collection, tmp_path: Path, where: str | None) -> None:
    edge = pytest.importorskip("qdrant_edge")
    vectors.export(tmp_path / "v.jsonl", "qdrant", where=where)
    points = [edge.Point(one["id"], one["vector"], one["payload"]) for one in read(tmp_path / "v.jsonl")]
    kind = edge.EdgeVectorParams(size=DIM, distance=edge.Distance.Cosine)
    shard = edge.EdgeShard.create(str(tmp_path / "shard"), edge.EdgeConfig(vectors=kind))
    shard.update(edge.UpdateOperation.upsert_points(points))
    k = min(7, len(points))
    xq, wanted, scores = exact(vectors, k, where)
    for one, best, score in zip(xq, wanted, scores, strict=True):
        asked = edge.Query.Nearest(one.tolist())
        found = shard.query(edge.QueryRequest(k, query=asked, params=edge.SearchParams(exact=True), with_payload=True))
        assert [hit.id for hit in found] == best.tolist()
        np.testing.assert_allclose([hit.score for hit in found], score, atol=1e-3)  # it scales vectors to unit length
        item = vectors.snapshot.item(vectors.snapshot.find_id(int(best[0])))
        assert found[0].payload["n"] == item.meta["n"] and found[0].payload["big"] == item.meta["big"]
    shard.close()
