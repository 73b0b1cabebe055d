"""What holds for every format: nothing is half there or lost, nothing is silent, and memory does not grow."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import faiss
import h5py
import numpy as np
import pyarrow.parquet as pq
import pytest

import engine
from engine.query.export.registry import FORMATS
from indexers.errors import CorruptCollection, InvalidInput
from tests.conftest import Carried
from tests.helpers import Hears, needs_bundled, python
from tests.query.export.made import SOURCES, N, rich

HERE = [name for name in FORMATS if name != "lance" or find_spec("lance")]
OF_VECTORS = [name for name in HERE if not FORMATS[name].pictures]


def left(folder: Path) -> list[str]:
    return sorted(one.name for one in folder.iterdir())


# -- where it goes ---------------------------------------------------------------------------


@pytest.mark.parametrize("to", OF_VECTORS)
def test_nothing_that_is_there_is_replaced_without_being_told(
    vectors: engine.Collection, tmp_path: Path, to: str
) -> None:
    there = tmp_path / "there"
    there.mkdir() if FORMATS[to].folder else there.write_text("mine")
    kept = there / "kept" if FORMATS[to].folder else there
    kept.write_text("mine")
    for overwrite in (False, True):
        options = engine.ExportOptions(overwrite=overwrite)
        if overwrite and not FORMATS[to].folder:
            assert vectors.export(there, to, options=options).items == N - 2
            assert kept.read_bytes() != b"mine"
        else:
            with pytest.raises(InvalidInput, match="choose another name"):
                vectors.export(there, to, options=options)
            assert kept.read_text() == "mine"
    assert left(tmp_path) == ["there"]
    other = tmp_path / "other"
    other.symlink_to(tmp_path / "nowhere")
    (tmp_path / "folder").mkdir()
    taken = [other, tmp_path / "folder"] if not FORMATS[to].folder else [other]
    for one in taken:
        with pytest.raises(InvalidInput, match="is there already"):
            vectors.export(one, to, options=engine.ExportOptions(overwrite=True))
    if FORMATS[to].folder:  # an empty folder holds nothing
        vectors.export(tmp_path / "folder", to)
    assert left(tmp_path) == ["folder", "other", "there"]


@pytest.mark.parametrize("where", ["", "deep/er", "versions/x.parquet", "../link/items/y"])
def test_nothing_is_written_into_the_collection(tmp_path: Path, where: str) -> None:
    with engine.Collection.create(tmp_path / "c.nest", encoder="precomputed", dim=2) as made:
        (tmp_path / "link").symlink_to(made.root)
        with pytest.raises(InvalidInput, match="lies in the collection"):
            made.export(made.root / where, "parquet")


@pytest.mark.parametrize("name", ["no/such/folder/x", "file/x", "x" * 300, "proc/x"])
def test_where_nothing_can_be_written(vectors: engine.Collection, tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "proc").symlink_to("/proc")
    for to in ("faiss", "clip-retrieval"):
        with pytest.raises(InvalidInput, match=r"cannot be written|longer than any file"):
            vectors.export(tmp_path / name, to)
    assert left(tmp_path) == ["file", "proc"]


def test_a_name_that_somebody_takes_meanwhile_stays_theirs(vectors: engine.Collection, tmp_path: Path) -> None:
    def taking() -> None:
        (tmp_path / "v.faiss").write_text("theirs")

    with pytest.raises(InvalidInput, match="written by somebody else meanwhile"):
        vectors.export(tmp_path / "v.faiss", "faiss", listener=Hears(advanced=taking))
    assert (tmp_path / "v.faiss").read_text() == "theirs" and left(tmp_path) == ["v.faiss"]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), CorruptCollection("a shard is damaged"), OSError(5, "no")])
@pytest.mark.parametrize("to", OF_VECTORS)
def test_an_error_on_the_way_is_told_and_leaves_nothing(
    vectors: engine.Collection, tmp_path: Path, to: str, error: BaseException
) -> None:
    def stop() -> None:
        raise error

    with pytest.raises(type(error)) as raised:
        vectors.export(tmp_path / "there", to, listener=Hears(advanced=stop))
    assert raised.value is error
    assert left(tmp_path) == []


KILLED = """
import os, signal, sys
import engine.api, engine.query.export.run, engine.query.where.kept
from tests.helpers import Hears
root, folder, *formats = sys.argv[1:]
for to in formats:
    if (child := os.fork()) == 0:
        def die():
            os.kill(os.getpid(), signal.SIGKILL)
        with engine.Collection.open(root, device="cpu") as opened:
            opened.export(f"{folder}/there-{to}", to, listener=Hears(advanced=die))
        os._exit(0)
    print(to, os.waitpid(child, 0)[1])
"""


def test_who_is_killed_leaves_nothing_under_the_name(vectors: engine.Collection, tmp_path: Path) -> None:
    assert python(KILLED, vectors.root, tmp_path, *OF_VECTORS) == [word for to in OF_VECTORS for word in (to, "9")]
    assert all(name.startswith(".tmp-") for name in left(tmp_path))
    for to in OF_VECTORS:
        assert vectors.export(tmp_path / f"there-{to}", to).items == N - 2


FULL = """
import os, resource, sys
import engine.api, engine.query.export.run, engine.query.where.kept
root, folder, *formats = sys.argv[1:]
for to in formats:
    if (child := os.fork()) == 0:
        with engine.Collection.open(root, device="cpu") as opened:
            resource.setrlimit(resource.RLIMIT_FSIZE, (3000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
            try:
                opened.export(f"{folder}/there-{to}", to)
            except engine.DiskFull as error:
                sys.exit(7 if "nothing is left of it" in str(error) else 8)
        sys.exit(9)
    print(to, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_full_disk_is_said(vectors: engine.Collection, tmp_path: Path) -> None:
    assert python(FULL, vectors.root, tmp_path, *OF_VECTORS) == [word for to in OF_VECTORS for word in (to, "7")]
    assert left(tmp_path) == []


# -- what is asked ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("to", "given", "said"),
    [
        ("parquet", {"vectors": True}, "vectors says nothing to parquet: it is for huggingface, webdataset"),
        ("faiss", {"columns": ["n"]}, "columns says nothing to faiss"),
        ("faiss", {"k": 3}, "k says nothing to faiss: it is for hdf5"),
        ("hdf5", {"pictures_from": ["/"]}, "pictures_from says nothing to hdf5: it is for huggingface, webdataset"),
        ("qdrant", {"seed": 1}, "seed says nothing to qdrant"),
    ],
)
def test_an_option_of_another_format_is_refused(
    vectors: engine.Collection, tmp_path: Path, to: str, given: dict[str, Any], said: str
) -> None:
    with pytest.raises(InvalidInput, match=said):
        vectors.export(tmp_path / "x", to, options=engine.ExportOptions(**given))
    assert left(tmp_path) == []


def _faiss(path: Path) -> list[int]:
    index = faiss.read_index(str(path))
    return [int(one) for one in faiss.vector_to_array(index.id_map)]


def _hdf5(path: Path) -> list[int]:
    with h5py.File(path) as file:
        return sorted([*np.array(file["train_ids"]).tolist(), *np.array(file["test_ids"]).tolist()])


def _lance(path: Path) -> Any:
    import lance

    return lance.dataset(str(path)).to_table().column("id").to_pylist()


IDS: dict[str, Callable[[Path], Any]] = {
    "parquet": lambda path: pq.read_table(path).column("id").to_pylist(),
    "clip-retrieval": lambda path: pq.read_table(path / "metadata/metadata_0.parquet").column("id").to_pylist(),
    "qdrant": lambda path: [json.loads(line)["id"] for line in path.read_text().splitlines()],
    "faiss": _faiss,
    "hdf5": _hdf5,
    "lance": _lance,
}


def test_ids_that_no_double_holds_are_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.collection.reading.MOST", 1 << 62)  # what a version may say now is far below
    with rich(tmp_path, first_id=2**60 + 1) as made:
        wanted = made.snapshot.ids[made.snapshot.live.numbers].tolist()
        assert any(int(float(one)) != one for one in wanted)
        for to in OF_VECTORS:
            made.export(tmp_path / to, to)
            assert IDS[to](tmp_path / to) == wanted, to


@pytest.mark.parametrize("to", OF_VECTORS)
def test_an_empty_collection_becomes_an_empty_file(empty: engine.Collection, tmp_path: Path, to: str) -> None:
    assert empty.export(tmp_path / "e", to).items == 0
    assert IDS[to](tmp_path / "e") == []


def test_progress_is_told_to_the_last_item(vectors: engine.Collection, tmp_path: Path) -> None:
    for to in OF_VECTORS:
        told: list[int] = []

        class Counts(Hears):
            def progress(self, task: str, total: int | None) -> Any:
                assert (task, total) == (f"exporting to {to}", N - 2)  # noqa: B023
                from contextlib import nullcontext

                return nullcontext(told.append)  # noqa: B023

        vectors.export(tmp_path / to, to, listener=Counts())
        assert sum(told) == N - 2, to


# -- pictures --------------------------------------------------------------------------------


@pytest.fixture
def own(photos: engine.Collection, tmp_path: Path) -> Iterator[Path]:
    """A collection whose pictures may be moved away: they are put back."""
    sources = [photos.root.parent / name for name in SOURCES]
    for one in sources:
        (shutil.copytree if one.is_dir() else shutil.copy)(one, tmp_path / one.name)
    yield photos.root
    for one in sources:
        shutil.rmtree(one) if one.is_dir() else one.unlink(missing_ok=True)
        (shutil.copytree if one.suffix == "" else shutil.copy)(tmp_path / one.name, one)


@needs_bundled
@pytest.mark.parametrize("to", ["huggingface", "webdataset"])
def test_pictures_that_are_away_cost_a_row_each(own: Path, tmp_path: Path, to: str) -> None:
    (own.parent / "photos/2019/p1.png").unlink()
    (own.parent / "more.zip").unlink()
    with engine.Collection.open(own, device="cpu") as opened:
        done = opened.export(tmp_path / "out", to)
        names = {opened.snapshot.item(opened.snapshot.find_id(one.id)).path for one in done.left_out}
    assert (done.items, len(done.left_out)) == (7, 2)
    assert names == {"2019/p1.png", "more.zip/in/6.png"}
    assert {one.reason for one in done.left_out} == {"No such file or directory"}


@needs_bundled
def test_only_pictures_that_may_be_shown_are_taken(own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NESTVEC_CACHE", str(tmp_path / "nobody"))
    (tmp_path / "out").mkdir()
    with engine.Collection.open(own, device="cpu") as opened:
        done = opened.export(tmp_path / "out/none", "webdataset")
        assert (done.items, len(done.left_out)) == (0, 9)
        assert str(own.parent / "photos") in done.unnamed
        options = engine.ExportOptions(pictures_from=[own.parent / "photos"])
        done = opened.export(tmp_path / "out/some", "webdataset", options=options)
        assert (done.items, len(done.left_out)) == (5, 4)


# -- the command -----------------------------------------------------------------------------


@needs_bundled
def test_the_command_says_what_it_wrote_and_what_not(own: Path, tmp_path: Path, carried_out: Carried) -> None:
    (out := tmp_path / "out").mkdir()
    done = carried_out("export", own, "a.parquet", "--to", "parquet", "--column", "path", cwd=out)
    assert (done.returncode, done.stdout, done.stderr) == (0, "exported 9 items to a.parquet (parquet)\n", "")
    assert pq.read_schema(out / "a.parquet").names == ["id", "path", "vector"]
    again = carried_out("export", own, "a.parquet", "--to", "parquet", cwd=out)
    assert again.returncode == 2 and "a.parquet exists already" in again.stderr and "--overwrite" in again.stderr
    told = carried_out("export", own, "a.parquet", "--to", "parquet", "--overwrite", "--where", "id < 0", cwd=out)
    assert (told.returncode, told.stderr) == (0, "no item matches --where\n")
    (gone := own.parent / "photos/2019/p1.png").unlink()
    part = carried_out("export", own, "w", "--to", "webdataset", "--with-vectors", cwd=out)
    assert (part.returncode, part.stdout) == (3, "exported 8 items to w (webdataset)\n")
    assert part.stderr == f"{gone}: left out: No such file or directory\n"
    said = json.loads(carried_out("export", own, "v", "--to", "huggingface", "--json", cwd=out).stdout)
    assert (said["items"], said["format"], said["path"], len(said["left_out"])) == (8, "huggingface", "v", 1)
    assert said["left_out"][0] | {"uri": str(gone), "reason": "No such file or directory"} == said["left_out"][0]


def test_the_command_makes_a_benchmark(vectors: engine.Collection, tmp_path: Path, carried_out: Carried) -> None:
    np.save(tmp_path / "q.npy", np.eye(16)[:3])
    words = ["export", vectors.root, "a.hdf5", "--to", "hdf5", "--queries", "q.npy", "-k", "4", "--where", "n > 9"]
    assert carried_out(*words, cwd=tmp_path).returncode == 0
    with h5py.File(tmp_path / "a.hdf5") as file:
        assert file["neighbors"].shape == (3, 4)
    for words, code, said in (
        (["a.hdf5", "--to", "nothing"], 2, "'nothing' is not one of 'parquet', 'hdf5'"),
        (["a.hdf5", "--to", "hdf5", "--held-out", "400"], 2, "400 rows cannot be held out of 298"),
        (["b.faiss", "--to", "faiss", "--space", "txt"], 2, "has no space 'txt'"),
        (["b.faiss", "--to", "faiss", "--where", "m = 3"], 2, "no column 'm'"),
        (["b.faiss", "--to", "faiss", "--with-vectors"], 2, "vectors says nothing to faiss"),
        (["no/b.faiss", "--to", "faiss"], 2, "cannot be written: No such file or directory"),
    ):
        words = words if "a.hdf5" not in words else ["c.hdf5", *words[1:]]
        done = carried_out("export", vectors.root, *words, cwd=tmp_path)
        assert done.returncode == code and said in done.stderr, done.stderr
    assert left(tmp_path) == ["a.hdf5", "q.npy"]


def test_a_destination_that_is_no_text(vectors: engine.Collection, tmp_path: Path) -> None:
    target = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xe9.faiss"))
    done = subprocess.run(
        [sys.executable, "-m", "engine.cli", "export", vectors.root, target, "--to", "faiss", "--json"],
        capture_output=True,
        check=True,
        cwd=Path(engine.__file__).parents[1],
    )
    assert json.loads(done.stdout)["path_bytes"] and target.stat().st_size > N * 16 * 4
