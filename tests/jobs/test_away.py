"""Nothing is lost because a drive was away, and one file is one item whatever source it is named by."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from engine.api import Collection
from engine.collection.manifest import Source
from engine.collection.named import Named, named
from engine.collection.originals import Originals
from engine.ingest import disks, folders
from engine.ingest.joined import TableOptions
from engine.jobs.index import RunOptions
from engine.progress import Loss, Summary
from indexers.errors import PictureError
from tests.helpers import clustered, draw, index, needs_bundled, nestvec, save

N = 24


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of two years, indexed in place."""
    album = tmp_path_factory.mktemp("away")
    for number in range(N):
        draw(album / f"p/{2020 + number % 2}/{number:02}.png", number)
    index(album / "c.nest", album / "p")
    return album


@pytest.fixture
def album(made: Path, tmp_path: Path) -> Iterator[Path]:
    """A copy of them, times and all, in the place where they were indexed."""
    kept = tmp_path / "kept"
    os.rename(made, kept)
    os.system(f"cp -a {kept} {made}")
    yield made
    os.system(f"chmod -R u+rwx {made}; rm -rf {made}")
    os.rename(kept, made)


def again(album: Path, *paths: str, accept_loss: float = 0.5) -> Summary:
    with Collection.open(album / "c.nest") as opened:
        where = [album / path for path in paths or ("p",)]
        return opened.index(where, RunOptions(device="cpu", accept_loss=accept_loss))


def held(album: Path) -> list[str]:
    with Collection.open(album / "c.nest") as opened:
        return sorted(f"{item.source}:{item.path}" for item in map(opened.snapshot.item, opened.snapshot.live.numbers))


@needs_bundled
@pytest.mark.parametrize("left", [0, 3, 11])
def test_a_source_that_shows_far_less_keeps_what_it_had(album: Path, left: int) -> None:
    before, pictures = held(album), sorted((album / "p").rglob("*.png"))
    for picture in pictures[left:]:
        picture.unlink()
    summary = again(album)
    assert summary.losses == [Loss("p", str(album / "p"), left, N)]
    assert (summary.removed, held(album)) == (0, before)
    # Nothing is encoded again once it is back, and nothing told.
    assert again(album).losses
    removed = again(album, accept_loss=1)
    assert (removed.removed, removed.losses, len(held(album))) == (N - left, [], left)


@needs_bundled
def test_less_than_half_is_removed_as_ever(album: Path) -> None:
    for picture in sorted((album / "p/2020").iterdir())[:11]:
        picture.unlink()
    summary = again(album)
    assert (summary.removed, summary.losses) == (11, [])


@needs_bundled
def test_what_was_renamed_is_no_loss(album: Path) -> None:
    (album / "p/2020").rename(album / "p/old")
    (album / "p/2021").rename(album / "p/new")
    (album / "q").mkdir()
    assert (again(album).moved, len(held(album))) == (N, N)
    # Nor is what another source has now.
    (album / "p/old").rename(album / "q/old")
    (album / "p/new").rename(album / "q/new")
    summary = again(album, "p", "q")
    assert (summary.moved, summary.losses, summary.encoded) == (N, [], 0)


@needs_bundled
def test_the_command_says_what_it_saw_and_what_to_type(album: Path) -> None:
    (album / "p").rename(album / "elsewhere")
    (album / "p").mkdir()
    found = nestvec("index", album / "p", album / "c.nest")
    assert found.returncode == 3
    assert f"p ({album}/p) shows nothing: nothing of it was removed" in found.stderr.decode()
    assert "--accept-loss 1" in found.stderr.decode()
    (album / "p").rmdir()
    draw(album / "q/new.png", 90)
    found = nestvec("index", album / "q", album / "c.nest")
    assert found.returncode == 0
    assert f"source p is not there any more ({album}/p); its items stay." in found.stderr.decode()
    assert "(not there: was it moved, or is a drive away?)" in nestvec("info", album / "c.nest").stdout.decode()
    (album / "p").mkdir()
    assert nestvec("index", album / "p", album / "c.nest", "--accept-loss", "1").returncode == 0
    assert held(album) == ["q:new.png"]


def test_another_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NESTVEC_CACHE", str(tmp_path / "cache"))
    sources = [Source("p", "folder", str(tmp_path)), Source("api", "vectors", "api")]
    assert list(disks.on_another_disk(tmp_path / "c.nest", sources)) == []
    assert list(disks.on_another_disk(tmp_path / "c.nest", sources)) == []
    monkeypatch.setattr(disks, "_disk", lambda path: 7)
    assert list(disks.on_another_disk(tmp_path / "c.nest", sources[:1])) == sources[:1]
    assert list(disks.on_another_disk(tmp_path / "c.nest", sources[:1])) == []


@needs_bundled
def test_a_link_whose_target_is_away_protects_what_is_below_it(album: Path) -> None:
    (album / "p/2021").rename(album / "drive")
    (album / "p/2021").symlink_to(album / "drive")
    again(album)
    before = held(album)
    (album / "drive").rename(album / "away")
    (album / "p/notes").symlink_to("nowhere")
    summary = again(album)
    assert (summary.removed, summary.losses, held(album)) == (0, [], before)
    # It is listed as what it is; what leads nowhere and protects nothing is not.
    assert summary.failed == 1
    (album / "away").rename(album / "drive")
    assert (again(album).unchanged, again(album).failed) == (N, 0)


@needs_bundled
def test_a_known_file_without_a_suffix_that_cannot_be_read_stays(album: Path) -> None:
    (album / "p/2020/00.png").rename(album / "p/2020/scan")
    again(album)
    before = held(album)
    (album / "p/2020/scan").unlink()
    (album / "p/2020/scan").symlink_to("/proc/self/mem")
    summary = again(album)
    assert (summary.removed, held(album), summary.failed) == (0, before, 1)


@needs_bundled
@pytest.mark.parametrize("time", [-(1 << 40), 0, 10_413_792_000, 1 << 34])
def test_no_time_of_a_file_stops_a_run(album: Path, time: int) -> None:
    os.utime(album / "p/2020/00.png", (time, time))
    assert (again(album).failed, len(held(album))) == (0, N)
    assert again(album).unchanged == N


@needs_bundled
def test_a_folder_in_a_source_is_a_part_of_it(album: Path) -> None:
    before = held(album)
    draw(album / "p/2021/new.png", 77)
    (album / "p/2020/00.png").unlink()
    (album / "p/2021/01.png").unlink()
    summary = again(album, "p/2021")
    assert (summary.added, summary.removed) == (1, 1)
    assert held(album) == sorted({*before, "p:2021/new.png"} - {"p:2021/01.png"})
    # By a link too.
    (album / "link").symlink_to(album / "p/2021")
    (album / "p/2021/03.png").unlink()
    assert again(album, "link").removed == 1
    assert not any(name.startswith("link:") for name in held(album))


@needs_bundled
def test_two_parts_may_have_a_table(album: Path) -> None:
    table = album / "more.csv"
    table.write_text("file,caption\n2020/00.png,red\n2021/01.png,blue\n")
    options = RunOptions(device="cpu", table=TableOptions(table))
    with Collection.open(album / "c.nest") as opened:
        opened.index([album / "p/2020", album / "p/2021"], options)
        captions = {item.path: item.caption for item in map(opened.snapshot.item, opened.snapshot.live.numbers)}
    assert (captions["2020/00.png"], captions["2021/01.png"]) == ("red", "blue")


@needs_bundled
def test_to_name_a_part_is_not_to_name_the_source(album: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the source lies the collection says, which may have come from anybody."""
    monkeypatch.setenv("NESTVEC_CACHE", str(album / "another user"))
    again(album, "p/2021")
    assert named(album / "c.nest") == {Named("folder", str(album / "p/2021"))}
    with Collection.open(album / "c.nest") as opened:
        originals = Originals(opened.root, opened.snapshot.manifest.sources)
        items = {item.path: item for item in map(opened.snapshot.item, range(N))}
        assert originals.read(items["2021/01.png"]) == (album / "p/2021/01.png").read_bytes()
        with pytest.raises(PictureError):
            originals.read(items["2020/00.png"])


@needs_bundled
def test_a_folder_around_a_source_leaves_its_files_to_it(album: Path) -> None:
    index(album / "d.nest", album / "p/2021")
    with Collection.open(album / "d.nest") as opened:
        summary = opened.index(album / "p", RunOptions(device="cpu"))
        assert (summary.added, summary.unchanged) == (N // 2, N // 2)
        assert len(opened) == N
        (album / "p/2021/01.png").unlink()
        assert (opened.index(album / "p", RunOptions(device="cpu")).removed, len(opened)) == (1, N - 1)
        # And where all of it is gone, it may be away.
        (album / "p/2021").rename(album / "away")
        summary = opened.index(album / "p", RunOptions(device="cpu"))
        assert ([one.source for one in summary.losses], len(opened)) == (["2021"], N - 1)


@needs_bundled
def test_what_is_passed_over_now_leaves_and_is_no_loss(album: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "NOT_WANTED", frozenset({b"2020", b"2021"}))
    draw(album / "p/more.png", 80)
    assert (again(album).removed, held(album)) == (N, ["p:more.png"])


def test_vectors_are_kept_alike(tmp_path: Path) -> None:
    save(tmp_path / "v.npy", clustered(100, 8))
    with Collection.create(tmp_path / "c.nest", encoder="precomputed", dim=8) as opened:
        opened.index(tmp_path / "v.npy")
        save(tmp_path / "v.npy", np.ascontiguousarray(clustered(100, 8)[:10]))
        assert opened.index(tmp_path / "v.npy").losses == [Loss("v.npy", str(tmp_path / "v.npy"), 10, 100)]
        assert opened.index(tmp_path / "v.npy", RunOptions(accept_loss=0.9)).removed == 90
