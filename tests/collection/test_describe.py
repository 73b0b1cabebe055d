"""What `info` tells, from the version file alone."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from engine.api import Collection
from engine.collection.describe import describe, list_failures
from tests.helpers import clustered, draw, index, needs_bundled, nestvec, vectors_collection


def test_counts_bytes_and_plans(tmp_path: Path) -> None:
    root = vectors_collection(tmp_path)
    with Collection.open(root) as opened:
        opened.add_vectors(np.vstack([clustered(5, 8, 1), np.full(8, np.nan)]), names=[*"abcdef"])
        opened.remove(["v.npy#3", "a"])
        files = opened.snapshot.manifest.files()
    found = describe(root)
    assert json.loads(json.dumps(found)) == found
    assert (found["items"], found["deleted"], found["failures"], found["shards"]) == (63, 2, 1, 2)
    assert [source["name"] for source in found["sources"]] == ["v.npy", "api"]
    assert found["bytes"] == sum(path.path != "" and (root / path.path).stat().st_size for path in files)
    space = found["spaces"]["main"]
    assert (space["dim"], space["dtype"], space["unindexed"]) == (8, "float16", 5)
    assert space["untrained_prefixes"] is False
    assert space["vectors"]["bytes"] == 128 + 60 * 16
    assert [index["spec"] for index in space["indexes"]] == ["sq@8:bits=8"]
    assert set(space["plans"][0]["recall"]) == {"items", "shifted"}
    (failure,) = list_failures(root)
    assert (failure["source"], failure["path"]) == ("api", "f")
    assert "NaN" in failure["reason"]


def test_untrained_prefixes_are_those_that_are_searched_by(tmp_path: Path) -> None:
    root = vectors_collection(tmp_path)
    with Collection.open(root) as opened:
        for specs, untrained in (
            (["sq@4"], True),
            (["sq@8", "flat@2"], True),
            (["sq@4:axes=1"], False),
            (["sq@8"], False),
        ):
            opened.build(specs)
            assert describe(root)["spaces"]["main"]["untrained_prefixes"] is untrained


def test_an_empty_collection(tmp_path: Path) -> None:
    Collection.create(tmp_path / "c.nest", encoder="precomputed", dim=4).close()
    found = describe(tmp_path / "c.nest")
    assert (found["items"], found["version"], found["spaces"]["main"]["indexes"]) == (0, 1, [])
    assert list_failures(tmp_path / "c.nest") == []


@needs_bundled
def test_a_failure_in_a_folder_called_as_its_source_is_told_whole(tmp_path: Path) -> None:
    (tmp_path / "p/p").mkdir(parents=True)
    (tmp_path / "p/p/a.jpg").write_bytes(b"no picture")
    draw(tmp_path / "p/b.png", 1)
    index(tmp_path / "c.nest", tmp_path / "p")
    assert nestvec("info", tmp_path / "c.nest", "--failures").stdout.startswith(b"p/p/a.jpg: ")
