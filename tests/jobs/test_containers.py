"""Collections of pictures that lie in Parquet, tar and zip files: as those of folders, and nothing is unpacked."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from engine.api import Collection
from engine.collection.describe import list_failures
from engine.collection.manifest import Source
from engine.collection.named import Named, remember_named
from engine.collection.originals import Originals, read_below
from engine.collection.verify import verify
from engine.progress import Summary
from indexers.errors import PictureError
from tests.helpers import COMMAND, draw, index, needs_bundled
from tests.ingest.test_containers import parquet, tar
from tests.ingest.test_sync_pictures import counts

pytestmark = needs_bundled


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NESTVEC_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    folder = tmp_path_factory.mktemp("drawn")
    return [draw(folder / f"{number}.png", number).read_bytes() for number in range(50)]


def rows(pictures: list[bytes]) -> list[dict[str, object]]:
    return [{"bytes": data, "path": f"p{number}.png"} for number, data in enumerate(pictures)]


def samples(pictures: list[bytes]) -> list[tuple[str, bytes]]:
    found: list[tuple[str, bytes]] = []
    for number, data in enumerate(pictures):
        said = ((".txt", b"drawing %d" % number), (".json", json.dumps({"number": number}).encode()))
        found += [(f"{number:03}.png", data), *((f"{number:03}{suffix}", text) for suffix, text in said)]
    return found


def items(root: Path) -> dict[str, tuple[int, str | None, dict[str, object]]]:
    with Collection.open(root) as made:
        found = [made.snapshot.item(int(row)) for row in made.snapshot.live.numbers]
    return {item.path: (item.id, item.caption, dict(item.meta)) for item in found}


def run(*words: str | Path) -> str:
    return subprocess.run([COMMAND, *words], check=True, capture_output=True, text=True).stdout


def test_fifty_rows_are_fifty_items_that_are_found_and_shown(tmp_path: Path, pictures: list[bytes]) -> None:
    numbers = list(range(50))
    texts = [f"picture {n}" for n in numbers]
    path = parquet(tmp_path / "train.parquet", rows(pictures), rows=20, label=pa.array(numbers), text=texts)
    root = tmp_path / "c.nest"
    assert counts(index(root, path)) == {"added": 50, "encoded": 50}
    found = items(root)
    assert found == {f"train.parquet/p{n}.png": (n, f"picture {n}", {"label": n}) for n in numbers}
    assert counts(index(root, path)) == {"unchanged": 50}
    assert list(verify(root)) == []
    asked = ("similar", root, "train.parquet/p7.png", "-k", "3")
    [answer] = run(*asked, "--json", "--html", tmp_path / "o.html").splitlines()
    assert [one["uri"].startswith(f"{path}/p") for one in json.loads(answer)["results"]] == [True] * 3
    assert (tmp_path / "o.html").read_text().count("data:image/jpeg") == 3
    by_id, by_path = run("similar", root, "7", "--json"), run("similar", root, f"{path}/p7.png", "--json")
    assert json.loads(by_id)["results"] == json.loads(by_path)["results"]
    assert len(json.loads(run("search", root, "a red bicycle", "-k", "5", "--json"))["results"]) == 5
    path.unlink()
    run("similar", root, "7", "--html", tmp_path / "o.html")
    assert "no picture here any more" in (tmp_path / "o.html").read_text()


def test_rows_that_are_added_or_gone_are_all_that_changes(tmp_path: Path, pictures: list[bytes]) -> None:
    path, root = tmp_path / "t.parquet", tmp_path / "c.nest"
    index(root, parquet(path, rows(pictures[:12])))
    before = items(root)
    parquet(path, rows(pictures[:15]))
    assert counts(index(root, path)) == {"added": 3, "encoded": 3, "unchanged": 12}
    assert {name: item for name, item in items(root).items() if name in before} == before
    parquet(path, rows(pictures[:15])[::-1][:13])
    assert counts(index(root, path)) == {"removed": 2, "unchanged": 13}
    nameless = [{"bytes": data, "path": None} for data in pictures[2:15]]
    parquet(path, nameless)
    assert counts(index(root, path)) == {"moved": 13}
    assert sorted(item[0] for item in items(root).values()) == list(range(2, 15))


def test_a_tar_is_known_again_where_it_was_moved(tmp_path: Path, pictures: list[bytes]) -> None:
    (tmp_path / "a").mkdir()
    path, root = tar(tmp_path / "a/x.tar", samples(pictures[:6])), tmp_path / "c.nest"
    assert counts(index(root, path)) == {"added": 6, "encoded": 6}
    assert items(root)["x.tar/003.png"] == (3, "drawing 3", {"number": 3})
    (tmp_path / "b").mkdir()
    path.rename(tmp_path / "b/x.tar")
    assert counts(index(root, tmp_path / "b/x.tar")) == {"unchanged": 6}
    (tmp_path / "b/x.tar").rename(tmp_path / "b/y.tar")
    assert counts(index(root, tmp_path / "b/y.tar")) == {"moved": 6}
    assert items(root)["y.tar/003.png"] == (3, "drawing 3", {"number": 3})
    with Collection.open(root) as made:
        assert [one.location for one in made.snapshot.manifest.sources] == [str(tmp_path / "b/y.tar")]


def test_a_folder_of_containers_stays_one(tmp_path: Path, pictures: list[bytes]) -> None:
    shards, root = tmp_path / "shards", tmp_path / "c.nest"
    (shards / "sub").mkdir(parents=True)
    tar(shards / "0.tar", samples(pictures[:4]))
    tar(shards / "sub/1.tar", samples(pictures[4:8]))
    parquet(shards / "2.parquet", rows(pictures[8:12]))
    assert counts(index(root, shards)) == {"added": 12, "encoded": 12}
    assert {name.rpartition("/")[0] for name in items(root)} == {"0.tar", "sub/1.tar", "2.parquet"}
    draw(shards / "beside.png", 99)
    assert counts(index(root, shards)) == {"added": 1, "encoded": 1, "unchanged": 12}
    tar(shards / "0.tar", samples(pictures[:3]))
    assert counts(index(root, shards / "0.tar")) == {"removed": 1, "unchanged": 3}
    (shards / "sub/1.tar").rename(shards / "1.tar")
    assert counts(index(root, shards)) == {"moved": 4, "unchanged": 8}
    with Collection.open(root) as made:
        assert [(one.name, one.kind) for one in made.snapshot.manifest.sources] == [("shards", "containers")]


def test_a_tar_among_pictures_is_passed_over_until_it_is_named(tmp_path: Path, pictures: list[bytes]) -> None:
    photos, root = tmp_path / "photos", tmp_path / "c.nest"
    draw(photos / "a.png", 99)
    tar(photos / "x.tar", samples(pictures[:3]))
    made = run("index", photos, root, "--json")
    assert json.loads(made)["added"] == 1
    assert counts(index(root, photos / "x.tar")) == {"added": 3, "encoded": 3}
    assert counts(index(root, photos)) == {"unchanged": 4}
    (photos / "x.tar").unlink()
    summary = index(root, photos)
    assert counts(summary) == {"unchanged": 1}
    assert [(one.source, one.now, one.before) for one in summary.losses] == [("x.tar", 0, 3)]


@pytest.mark.parametrize("how", ["cut", "garbage", "empty", "unreadable"])
def test_what_cannot_be_read_any_more_loses_nothing(tmp_path: Path, pictures: list[bytes], how: str) -> None:
    shards, root = tmp_path / "shards", tmp_path / "c.nest"
    shards.mkdir()
    tar(shards / "0.tar", samples(pictures[:5]))
    parquet(shards / "1.parquet", rows(pictures[5:9]))
    index(root, shards)
    for path in shards.iterdir():
        data = path.read_bytes()
        if how == "unreadable":
            path.unlink()
            path.symlink_to("nowhere")
        else:
            path.write_bytes({"cut": data[: len(data) // 2], "garbage": b"?" * 5000, "empty": b""}[how])
    summary: Summary = index(root, shards)
    assert summary.removed == 0
    assert len(items(root)) == 9


def test_broken_pictures_are_failures_that_are_not_tried_again(tmp_path: Path, pictures: list[bytes]) -> None:
    path, root = tmp_path / "t.parquet", tmp_path / "c.nest"
    index(root, parquet(path, [*rows(pictures[:3]), {"bytes": b"none", "path": "x.png"}, None]))
    assert {one["path"]: one["reason"][:12] for one in list_failures(root)} == {
        "t.parquet/4": "row 4 has no",
        "t.parquet/x.png": "not a pictur",
    }
    summary = index(root, path)
    assert (summary.failed, summary.failed_before, summary.unchanged) == (2, 2, 3)


def test_only_what_lies_in_a_container_was_named_with_it(tmp_path: Path, pictures: list[bytes]) -> None:
    path, root = tar(tmp_path / "x.tar", samples(pictures[:2])), tmp_path / "c.nest"
    (tmp_path / "secret.png").write_bytes(b"secret")
    index(root, path)
    with Collection.open(root) as made:
        item, sources = made.snapshot.item(1), made.snapshot.manifest.sources
    assert Originals(root, sources).read(item) == pictures[1]
    for name in ("secret.png", "x.tar/../secret.png", "y.tar/secret.png", "x.tar"):
        with pytest.raises((PictureError, OSError)):
            Originals(root, sources).read(replace(item, path=name))
    other = Source("other", "container", str(tmp_path / "x.tar"))
    (tmp_path / "d.nest").mkdir()
    with pytest.raises(PictureError, match="nobody"):
        Originals(tmp_path / "d.nest", [other]).read(replace(item, source="other"))
    remember_named(tmp_path / "d.nest", [Named("container", other.location)])
    assert Originals(tmp_path / "d.nest", [other]).read(replace(item, source="other")) == pictures[1]


def test_a_picture_in_a_container_is_asked_with(tmp_path: Path, pictures: list[bytes]) -> None:
    root = tmp_path / "c.nest"
    index(root, tar(tmp_path / "x.tar", samples(pictures[:5])))
    other = tar(tmp_path / "other.tar", samples(pictures[:5]))
    with Collection.open(root) as made:
        found = made.similar(str(other / "002.png"), k=1)
        assert [item.path for item in found.items] == ["x.tar/002.png"]
    assert read_below(str(tmp_path), "x.tar/002.png") == pictures[2]
