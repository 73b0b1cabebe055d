"""A bit that flips, or a file that is cut, in any file and at any place: found before an answer is wrong.

For each kind of file: `verify` names it, a search refuses it or gives the right answers because it did not need it,
and `repair` brings back what was there.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from engine.api import Collection
from engine.collection.commit import current_version
from engine.collection.verify import verify
from engine.jobs.index import RunOptions
from engine.jobs.repair import repair
from engine.progress import Silent
from indexers.errors import CorruptCollection, NestvecError
from tests.faults.states import assert_sound, state_of
from tests.faults.stories import NAME, copied, with_head
from tests.helpers import draw, flip_bit, index, needs_bundled

OFFSETS = 40
PLANS = (None, "exact", "flat@4 | 5@8")
KINDS = ("items", "lookup", "deletes", "failures", "embeddings", "encoder", "vectors", "indexes", "heads")
LOSSLESS = ("items", "lookup", "embeddings", "vectors", "indexes", "failures", "deletes")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a collection that has a file of every kind but canaries, which no vectors have."""
    folder = tmp_path_factory.mktemp("whole")
    with_head(folder)
    with Collection.open(folder / NAME, device="cpu") as opened:
        opened.build(["flat@4"])
        opened.build(["flat@4"], space="nested")
        opened.add_vectors(np.vstack([np.eye(8)[:2], np.zeros(8)]), names=["a", "b", "zero"], source="late")
        opened.remove(["a"])
    return folder


@pytest.fixture
def place(whole: Path, tmp_path: Path) -> Path:
    return copied(whole, tmp_path / "place")


def files_of(root: Path, kind: str) -> list[Path]:
    """Return the files of a kind that the newest version lists."""
    with Collection.open(root) as opened:
        return [root / ref.path for ref in opened.snapshot.manifest.files() if ref.path.split("/")[-2] == kind]


def damages(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yield a file's content with one bit flipped, at many places, and cut, at many lengths."""
    data = path.read_bytes()
    rng = np.random.default_rng(len(data))
    for at in sorted({0, len(data) - 1, *rng.integers(len(data), size=OFFSETS).tolist()}):
        wrong = bytearray(data)
        wrong[at] ^= 1 << int(rng.integers(8))
        yield f"bit at {at}", bytes(wrong)
    for size in sorted({0, 1, len(data) // 2, len(data) - 1, *rng.integers(len(data), size=5).tolist()}):
        yield f"cut at {size}", data[:size]


def answers_of(root: Path) -> list[list[tuple[str, float]]]:
    """Ask everything there is to ask."""
    xq = np.eye(8, dtype=np.float32)[:3]
    found = []
    for space in ("main", "nested"):
        with Collection.open(root, device="cpu", space=space) as opened:
            for plan in PLANS:
                for answers in opened.search(xq, 7, plan=plan):
                    found.append(list(zip(answers.uris, np.round(answers.scores, 4).tolist(), strict=True)))
    return found


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "encoder"])
def test_no_damage_makes_a_wrong_answer(place: Path, kind: str) -> None:
    root = place / NAME
    right = answers_of(root)
    found = refused = 0
    for path in files_of(root, kind):
        data = path.read_bytes()
        for what, wrong in damages(path):
            path.write_bytes(wrong)
            assert str(path.relative_to(root)) in {problem.path for problem in verify(root)}, (path, what)
            found += 1
            try:
                assert answers_of(root) == right, (path, what)
            except CorruptCollection as error:
                assert path.name in str(error), (path, what)
                refused += 1
        path.write_bytes(data)
    assert found > OFFSETS
    # Only what no answer needs may go unnoticed: shards that the lookup and the matrix cover, for example.
    least, most = {"failures": (0, 0), "heads": (0, 0), "items": (1, found - 1), "embeddings": (1, found - 1)}.get(
        kind, (found, found)
    )
    assert least <= refused <= most
    assert list(verify(root)) == []


def test_no_damage_to_a_version_is_read(place: Path) -> None:
    root = place / NAME
    path = root / f"versions/{current_version(root):010d}.json"
    before = state_of(root)
    for what, wrong in damages(path):
        if wrong.endswith(b"}}"):
            continue  # only the line's end is gone
        path.write_bytes(wrong)
        with pytest.raises(NestvecError, match=r"version|format"):
            pytest.fail(f"{what}: {state_of(root) == before}")


@pytest.mark.parametrize("kind", LOSSLESS)
def test_what_is_there_twice_is_repaired(place: Path, kind: str) -> None:
    root = place / NAME
    with Collection.open(root, device="cpu") as opened:  # the lookup and the matrix hold what was indexed
        opened.build(["flat@4"])
    before = state_of(root)
    for path in files_of(root, kind):
        flip_bit(path, path.stat().st_size // 2)
    done = repair(root, RunOptions(device="cpu"), Silent())
    if kind == "deletes":  # the newest removal was in no older version
        assert len(done.lost) == 1
        done = repair(root, RunOptions(device="cpu"), Silent(), accept_loss=True)
        now = state_of(root)
        assert before is not None and now is not None
        assert set(now.items) - set(before.items) == {("main", "late", "a"), ("nested", "late", "a")}
    else:
        assert (done.lost, len(done.restored) > 0) == ([], True)
        assert state_of(root) == before
    assert_sound(root, older=False)


def test_what_is_nowhere_else_is_given_up_only_if_that_is_asked_for(place: Path) -> None:
    root = place / NAME
    before = state_of(root)
    assert before is not None
    (head,) = files_of(root, "heads")
    head.write_bytes(b"")
    # The rows after the lookup and the matrix are nowhere else: their source was the API.
    (late,) = files_of(root, "items")[-1:]
    late.write_bytes(b"")
    version = current_version(root)
    done = repair(root, RunOptions(device="cpu"), Silent())
    assert (done.version, current_version(root), len(done.lost)) == (version, version, 2)
    done = repair(root, RunOptions(device="cpu"), Silent(), accept_loss=True)
    assert len(done.lost) == 2
    now = state_of(root)
    assert now is not None
    assert {space for space, _, _ in now.items} == {"main"}
    assert now.items == {key: row for key, row in before.items.items() if key[0] == "main" and key[1] != "late"}
    assert_sound(root, older=False)


def test_a_version_that_cannot_be_read_is_gone_back_behind(place: Path) -> None:
    root = place / NAME
    newest = current_version(root)
    expected = state_of(root, newest - 1)
    with Collection.open(root) as opened:
        next_id = opened.snapshot.manifest.next_id
    (root / f"versions/{newest:010d}.json").write_bytes(b"{")
    done = repair(root, RunOptions(device="cpu"), Silent())
    assert "cannot be read" in done.lost[0]
    with pytest.raises(NestvecError):
        state_of(root)
    done = repair(root, RunOptions(device="cpu"), Silent(), accept_loss=True)
    assert (done.version, current_version(root)) == (newest + 1, newest + 1)
    assert state_of(root) == expected
    with Collection.open(root) as opened:
        assert opened.snapshot.manifest.next_id >= next_id - 1
    assert_sound(root, older=False)


@needs_bundled
def test_vectors_are_encoded_again_from_the_pictures(tmp_path: Path) -> None:
    for number in range(6):
        draw(tmp_path / "photos" / f"{number}.png", number)
    root = tmp_path / NAME
    index(root, tmp_path / "photos", encoder="bundled")
    before = state_of(root)
    for kind in ("embeddings", "vectors", "encoder"):
        for path in files_of(root, kind):
            flip_bit(path, path.stat().st_size // 2)
    draw(tmp_path / "photos" / "4.png", 99)
    (tmp_path / "photos" / "5.png").unlink()
    done = repair(root, RunOptions(device="cpu"), Silent())
    assert sorted(line.split(":")[0] for line in done.lost) == ["4.png", "5.png"]
    done = repair(root, RunOptions(device="cpu"), Silent(), accept_loss=True)
    now = state_of(root)
    assert before is not None and now is not None
    assert sorted(path for _, _, path in now.items) == [f"{number}.png" for number in range(4)]
    for key, row in now.items.items():
        was = np.frombuffer(before.items[key], np.float16).astype(np.float32)
        assert was @ np.frombuffer(row, np.float16).astype(np.float32) > 0.999
    assert_sound(root, older=False)
    index(root, tmp_path / "photos")
    assert_sound(root, older=False)
