"""Items by their users' own keys: from whichever file, of any size, and back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine.api import Collection
from engine.ingest.joined import TableOptions
from indexers.errors import InvalidInput, ItemNotFound, SourceError
from tests.helpers import clustered, index, nestvec, save
from tests.ingest.test_sync_vectors import items

X = clustered(6, 8)
SKUS = [2**60 + 7 + row for row in range(6)]


def written(path: Path, keys: list[Any] = SKUS) -> Path:
    """Write vectors with a column `sku` in a kind of file."""
    if path.suffix == ".parquet":
        pq.write_table(pa.table({"emb": pa.array(X.tolist(), pa.list_(pa.float32())), "sku": keys}), path)
    elif path.suffix == ".jsonl":
        rows = [{"emb": row.tolist(), "sku": key} for row, key in zip(X, keys, strict=True)]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif path.suffix == ".npz":
        np.savez(path, emb=X, sku=np.array(keys))
    else:
        rows_of_text = [f'"{row.tolist()}",{key}' for row, key in zip(X, keys, strict=True)]
        path.write_text("\n".join(["emb,sku", *rows_of_text]) + "\n")
    return path


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl", ".npz", ".csv"])
def test_whole_numbers_come_back_as_such(tmp_path: Path, suffix: str) -> None:
    root = tmp_path / "c.nest"
    path = written(tmp_path / f"v{suffix}")
    assert index(root, path, key="sku").added == 6
    assert index(root, path).unchanged == 6
    assert items(root)[str(SKUS[0])][2] == {"sku": SKUS[0]}
    with Collection.open(root) as opened:
        assert opened.ids_of(SKUS).tolist() == list(range(6))
        assert opened.ids_of(np.array(SKUS))[2] == opened.ids_of(str(SKUS[2]))[0] == 2
        assert opened.similar(opened.ids_of(SKUS[:1]), k=1, include_self=True)[0].items[0].meta == {"sku": SKUS[0]}
        opened.build()
        assert opened.search(X[3], k=1).items[0].meta["sku"] == SKUS[3]
        assert opened.remove(ids=opened.ids_of(SKUS[1:3]).tolist()).removed == 2
        with pytest.raises(ItemNotFound, match=str(SKUS[1])):
            opened.ids_of(SKUS)


def test_keys_that_are_texts_stay_texts(tmp_path: Path) -> None:
    for number, keys in enumerate((["007", "7", "8", "9", "10", "11"], ["a", "b", "c", "d", "e", "1"])):
        root = tmp_path / f"{number}.nest"
        index(root, written(tmp_path / f"{number}.csv", keys), key="sku")
        assert {name: one[2] for name, one in items(root).items()} == {key: {"sku": key} for key in keys}


def test_the_table_beside_vectors_may_have_the_keys(tmp_path: Path) -> None:
    root, table = tmp_path / "c.nest", tmp_path / "t.csv"
    table.write_text("sku,title\n" + "".join(f"{sku},t\n" for sku in SKUS))
    index(root, save(tmp_path / "v.npy", X), table=table, key="sku")
    assert items(root)[str(SKUS[5])] == (5, "t", {"sku": SKUS[5]})


def test_rows_that_move_are_known_by_their_keys(tmp_path: Path) -> None:
    root, path = tmp_path / "c.nest", written(tmp_path / "v.parquet")
    index(root, path, key="sku")
    pq.write_table(pq.read_table(path).take([5, 4, 3, 2, 1, 0]), path)
    assert index(root, path).unchanged == 6
    assert [one[0] for one in items(root).values()] == list(range(6))


def test_what_is_no_key(tmp_path: Path) -> None:
    root = tmp_path / "c.nest"
    index(root, written(tmp_path / "v.parquet"), key="sku")
    with Collection.open(root) as opened:
        for wrong in (1.5, None, True, b"x", [None]):
            with pytest.raises(InvalidInput, match="keys"):
                opened.ids_of(wrong)
        opened.add_vectors(X[:1], names=[str(SKUS[0])])
        with pytest.raises(InvalidInput, match=r"is the key of items of several sources: v\.parquet, api"):
            opened.ids_of(SKUS[0])
    with pytest.raises(SourceError, match="no column 'nope'"):
        index(tmp_path / "d.nest", tmp_path / "v.parquet", key="nope")
    with pytest.raises(InvalidInput, match="a key or a name_column, not both"):
        TableOptions(key="a", name_column="b")
    (tmp_path / "photos").mkdir()
    with pytest.raises(SourceError, match="a key names rows of vectors"):
        index(tmp_path / "d.nest", tmp_path / "photos", key="sku")


def test_the_command(tmp_path: Path) -> None:
    root = tmp_path / "c.nest"
    done = nestvec("index", written(tmp_path / "v.parquet"), root, "--key", "sku")
    assert done.returncode == 0, done.stderr
    done = nestvec("similar", root, "--keys", str(SKUS[0]), "99", "-k", "1", "--include-self", "--json")
    assert done.returncode == 3
    assert b"'99'" in done.stderr
    assert json.loads(done.stdout)["results"][0]["meta"]["sku"] == SKUS[0]
    done = nestvec("remove", root, "--keys", str(SKUS[0]), "--json")
    assert json.loads(done.stdout)["removed"] == 1
    assert nestvec("remove", root, "--keys", str(SKUS[0])).returncode == 1
