"""Heads on a collection: the same answers as the oracle gives, whatever happens to the collection around them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.api import Collection
from engine.collection.encoder import encoder_of
from engine.collection.verify import verify
from engine.encoders.base import Fingerprint
from engine.heads.model import Head
from engine.jobs import spaces as heads
from engine.jobs.create import create
from engine.jobs.due import tail_rows
from engine.jobs.spaces import HeadOptions, apply_head
from indexers.base import IndexSpec
from indexers.errors import (
    EncoderMismatch,
    HeadError,
    InvalidInput,
    InvalidSpec,
    ModalityError,
)
from indexers.vectors import FloatArray
from tests.collection.test_spaces import assert_derived
from tests.conftest import live_scores
from tests.helpers import Hears, clustered, draw, flip_bit, index, needs_bundled, newest, save, vectors_collection
from tests.jobs.headed import DIM, ROWS, assert_searched, numbered
from tests.jobs.test_canaries import Bytes
from tests.made_heads import fingerprint_of, linear, rotation, saved, two_towers

SPECS = ("flat@4", "flat@16")
MAKERS: dict[str, Callable[[Fingerprint], Head]] = {
    "rotation": rotation,
    "smaller": lambda encoder: linear(encoder, 8),
    "larger": lambda encoder: linear(encoder, 24),
    "two towers": lambda encoder: two_towers(encoder, 8),
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return numbered(tmp_path)


def applied(root: Path, head: Head, name: str = "nested", **how: Any) -> Path:
    """Apply a head, with an index over all its dimensions that is exact."""
    specs = [IndexSpec("flat", 4), IndexSpec("flat", head.dim)]
    apply_head(root, saved(head, root.parent / f"{name}.safetensors"), HeadOptions(name, specs, **how))
    return root


# -- what follows from a head --------------------------------------------------------------


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_answers_are_those_of_the_oracle_all_along(root: Path, kind: str, dtype: str) -> None:
    head = MAKERS[kind](fingerprint_of(root))
    applied(root, head, dtype=dtype)
    assert_searched(root, head)
    with Collection.open(root) as opened:
        opened.add_vectors(clustered(30, DIM, 1), names=[f"new-{row}" for row in range(30)])
        assert tail_rows(newest(root), "nested") == 30  # searched exactly
        assert_searched(root, head)
        opened.remove(["row-3", "new-4", "row-399"])
        assert_searched(root, head)
        changed = opened.add_vectors(clustered(2, DIM, 2), names=["row-5", "new-6"])
        assert changed.changed == 2
        assert_searched(root, head)
        relabelled = opened.add_vectors(clustered(ROWS, DIM)[7:8], names=["row-7"], captions=["a caption"])
        assert relabelled.relabelled == 1
        assert_searched(root, head)
        opened.build(["flat@4", f"flat@{head.dim}"], space="nested")
        assert_searched(root, head)
        opened.compact()
        assert_searched(root, head)
        assert [str(entry.spec) for entry in newest(root).space("nested").indexes] == ["flat@4", f"flat@{head.dim}"]
    (root.parent / "nested.safetensors").unlink()
    moved = root.rename(root.with_name("moved.nest"))
    assert_searched(moved, head)
    with Collection.open(moved) as opened:
        opened.add_vectors(clustered(5, DIM, 3), names=[*"abcde"])
    assert_searched(moved, head)
    assert list(verify(moved)) == []


def test_a_rotation_keeps_every_score(root: Path) -> None:
    head = rotation(fingerprint_of(root))
    applied(root, head)
    xq = clustered(20, DIM, 5)
    with Collection.open(root) as main, Collection.open(root, space="nested") as nested:
        for one, other in zip(
            main.search(xq, k=10, exact=True), nested.search(head(xq), k=10, exact=True), strict=True
        ):
            np.testing.assert_allclose(one.scores, other.scores, atol=1e-5)
            assert one.ids.tolist() == other.ids.tolist()
        assert nested.similar(5, k=4, exact=True).ids.tolist() == main.similar(5, k=4, exact=True).ids.tolist()


def test_indexes_are_at_the_trained_dimensions_and_the_plan_is_measured(root: Path) -> None:
    before = newest(root)
    head = linear(fingerprint_of(root), 12, dims=(3, 6))
    summary = apply_head(root, saved(head, root.parent / "h.safetensors"))
    after = newest(root)
    assert (after.version, after.operation, summary.version) == (before.version + 1, "apply-head", after.version)
    entry = after.space("nested")
    assert [one.spec.key for one in entry.indexes] == ["sq@3", "sq@6", "sq@12"]
    assert (entry.dtype, entry.plans[0].recall.keys(), summary.unindexed) == ("float32", {"items", "shifted"}, 0)
    assert after.space() == before.space()
    assert after.lookup == before.lookup
    assert after.default == "main"


def test_texts_go_through_the_tower_for_queries(tmp_path: Path) -> None:
    root, encoder = tmp_path / "c.nest", Bytes()
    create(root, encoder, dtype="float32")
    head = two_towers(encoder.fingerprint, 8)
    with Collection(root, encoder=encoder) as opened:
        opened.add_vectors(clustered(80, 32), captions=[f"caption {row}" for row in range(80)])
        opened.apply_head(saved(head, tmp_path / "h.safetensors"), use=True)
        assert opened.space_name == "nested"
        assert opened.space.plans[0].recall.keys() == {"items", "texts"}
        queries = head(encoder.encode_texts(["a cat", "a dog"]), "queries")
        np.testing.assert_array_equal(opened.encode_texts(["a cat", "a dog"]), queries)
        answers = opened.search(["a cat", "a dog"], k=5, exact=True)
        truth = -np.sort(-live_scores(opened, queries), axis=1)[:, :5]
        np.testing.assert_allclose([one.scores for one in answers], truth, atol=2e-6)
        picture = draw(tmp_path / "p.png", 1)
        expected = head(encoder.encode_images(encoder.prepare(_picture(picture))[None]))[0]
        np.testing.assert_allclose(opened.encode_picture(picture), expected, atol=1e-6)
        assert opened.similar(picture, k=1).scores[0] == pytest.approx(live_scores(opened, expected[None]).max())
        assert opened.explain("a cat", k=5).recall == 1.0
        opened.compact()
        assert opened.space.plans[0].recall.keys() == {"items", "texts"}


def _picture(path: Path) -> Any:
    from engine.encoders.pictures import decode_picture

    return decode_picture(path.read_bytes(), min_side=4)


def test_an_encoder_that_is_not_at_hand_costs_the_text_queries_only(root: Path) -> None:
    said: list[str] = []
    head = linear(fingerprint_of(root), 8)

    def load() -> Any:
        raise EncoderMismatch("gone")

    apply_head(root, saved(head, root.parent / "h.safetensors"), None, Hears(said.append), load=load)
    assert "the plan is chosen without text queries: gone" in said
    assert newest(root).space("nested").plans[0].recall.keys() == {"items", "shifted"}


def test_an_empty_collection_takes_a_head(tmp_path: Path) -> None:
    root = tmp_path / "c.nest"
    with Collection.create(root, encoder="precomputed", dim=DIM) as opened:
        head = rotation(fingerprint_of(root))
        opened.apply_head(saved(head, tmp_path / "h.safetensors"), use=True)
        assert (len(opened), opened.space_name) == (0, "nested")
        opened.add_vectors(clustered(50, DIM))
        assert len(opened.space.indexes) == 3
        assert opened.search(head(clustered(50, DIM)[3:4]), k=1)[0].ids.tolist() == [3]
    assert_derived(root, head)


def test_a_space_that_outgrew_its_indexes_is_built_with_the_main_one(tmp_path: Path) -> None:
    root = vectors_collection(tmp_path, 60, DIM)
    head = linear(fingerprint_of(root), 8)
    applied(root, head)
    index(root, save(tmp_path / "w.npy", clustered(5000, DIM, 1)), add=True)
    for entry in newest(root).spaces.values():
        assert entry.vectors is not None
        assert entry.vectors.shards == 2
    assert [str(one.spec) for one in newest(root).space("nested").indexes] == ["flat@4", "flat@8"]
    index(root, tmp_path / "w.npy", specs=["flat@2"], add=True)
    assert [str(one.spec) for one in newest(root).space().indexes] == ["flat@2"]
    assert [str(one.spec) for one in newest(root).space("nested").indexes] == ["flat@4", "flat@8"]
    assert_searched(root, head)


def test_a_rebuild_repairs_every_space(tmp_path: Path) -> None:
    root = vectors_collection(tmp_path, 60, DIM)
    head = linear(fingerprint_of(root), 8)
    applied(root, head)
    flip_bit(root / newest(root).space("nested").indexes[0].covering.file.path, 100)
    (problem,) = verify(root)
    assert problem.derived
    index(root, tmp_path / "v.npy", rebuild=True)
    assert list(verify(root)) == []
    assert_searched(root, head)


@pytest.mark.parametrize("seed", range(6))
def test_whatever_is_done_in_whatever_order(tmp_path: Path, seed: int) -> None:
    """Adding, changing, removing, building, compacting, heads on the space and on spaces made by heads."""
    rng = np.random.default_rng(seed)
    root = vectors_collection(tmp_path, 50, DIM, seed)
    made: dict[str, Head] = {}
    for step in range(14):
        with Collection.open(root) as opened:
            match rng.choice(["add", "change", "remove", "compact", "build", "head", "drop", "use"]):
                case "add":
                    opened.add_vectors(clustered(9, DIM, step), source=f"s{step}")
                case "change":
                    opened.add_vectors(clustered(4, DIM, 100 + step), names=[*"abcd"], source="changing")
                case "remove":
                    live = np.setdiff1d(np.arange(opened.snapshot.rows), opened.snapshot.deleted)
                    opened.remove(ids=[int(opened.snapshot.ids[row]) for row in rng.choice(live, 3, replace=False)])
                case "compact":
                    opened.compact()
                case "build":
                    opened.build(["flat@3"], space=str(rng.choice(list(opened.snapshot.manifest.spaces))))
                case "head":
                    base = str(rng.choice(list(opened.snapshot.manifest.spaces)))
                    head = linear(fingerprint_of(root, base), int(rng.integers(5, 20)), seed=step)
                    made[f"h{step}"] = head
                    opened.apply_head(saved(head, tmp_path / f"h{step}.safetensors"), f"h{step}")
                case "drop" if made:
                    *_, last = made
                    opened.remove_space(last)
                    del made[last]
                case "use":
                    opened.use(str(rng.choice(list(opened.snapshot.manifest.spaces))))
        spaces = newest(root).spaces
        assert list(spaces) == ["main", *made]
        for name, head in made.items():
            assert_derived(root, head, name, str(spaces[name].base))
            with Collection.open(root, space=name) as opened:
                xq = clustered(3, head.dim, step)
                scores = [one.scores for one in opened.search(xq, k=5)]
                truth = -np.sort(-live_scores(opened, xq), axis=1)[:, :5]
                np.testing.assert_allclose(scores, truth, atol=2e-6)  # so few rows are scanned whole
    assert list(verify(root)) == []


def test_a_compaction_into_several_shards_keeps_every_vector_in_every_space(tmp_path: Path) -> None:
    root = tmp_path / "c.nest"
    for number in range(3):
        index(root, save(tmp_path / f"v{number}.npy", clustered(40_000, 8, number)), specs=["flat@8"], add=number > 0)
    head = linear(fingerprint_of(root), 5)
    apply_head(root, saved(head, tmp_path / "h.safetensors"), HeadOptions(specs=[IndexSpec("flat", 5)]))

    def vectors(space: str) -> tuple[list[int], FloatArray]:
        with Collection.open(root, space=space) as opened:
            live = np.setdiff1d(np.arange(opened.snapshot.rows), opened.snapshot.deleted)
            return opened.snapshot.ids[live].tolist(), opened.searcher.vectors(live)

    with Collection.open(root) as opened:
        opened.remove(ids=[0, 5, 39_999, 40_000, 119_999, *range(60_000, 60_500)])
        before = {space: vectors(space) for space in ("main", "nested")}
        opened.compact()
        assert [ref.rows for ref in opened.snapshot.manifest.items] == [80_000 - 504, 40_000 - 1]
    for space, (ids, values) in before.items():
        found, now = vectors(space)
        assert found == ids
        assert np.array_equal(now, values)
    assert list(verify(root)) == []


# -- which space is searched ---------------------------------------------------------------


def test_the_default_space(root: Path) -> None:
    head = linear(fingerprint_of(root), 8)
    applied(root, head, "a")
    applied(root, head, "b", use=True)
    assert_searched(root, head, space=None)
    with Collection.open(root) as opened, Collection.open(root, space="a") as other:
        assert (opened.space_name, other.space_name) == ("b", "a")
        opened.use("main")
        other.refresh()
        assert (opened.space_name, opened.space.dim, other.space_name) == ("main", DIM, "a")
        summary = opened.apply_head(root.parent / "a.safetensors", "a", use=True)  # is there already
        assert (opened.space_name, summary.version, newest(root).operation) == ("a", opened.version, "use")
        other.remove_space("a")
        assert other.space_name == newest(root).default == "main"
        assert opened.refresh()
        assert opened.space_name == "main"
    with pytest.raises(InvalidInput, match="no space 'a'; it has main, b"):
        Collection.open(root, space="a")
    with Collection.open(root, space="b") as opened:
        heads.remove_space(root, "b")
        with pytest.raises(InvalidInput, match="no space 'b'"):
            opened.refresh()
        assert len(opened.search(clustered(1, 8), k=3)[0]) == 3
        for wrong in (lambda: opened.use("b"), lambda: opened.build(space="x"), lambda: opened.remove_space("b")):
            with pytest.raises(InvalidInput, match="no space"):
                wrong()


def test_vectors_are_those_of_the_space(root: Path) -> None:
    applied(root, linear(fingerprint_of(root), 8), use=True)
    with Collection.open(root) as opened:
        with pytest.raises(InvalidInput, match="expected 8 dimensions, found 16"):
            opened.search(clustered(1, DIM))
        with pytest.raises(ModalityError):
            opened.search("text")
        with pytest.raises(InvalidInput, match=r"\[n, 16\]"):
            opened.add_vectors(clustered(1, 8))


# -- what is refused -----------------------------------------------------------------------


def test_what_cannot_be_applied_leaves_the_collection_as_it_was(root: Path) -> None:
    fingerprint = fingerprint_of(root)
    other = Fingerprint("other", "none", "none", DIM)
    good = saved(linear(fingerprint, 8), root.parent / "good.safetensors")
    stranger = saved(linear(other, 8), root.parent / "other.safetensors")
    cut = root.parent / "cut.safetensors"
    cut.write_bytes(good.read_bytes()[:-1])
    apply_head(root, good)
    before, files = newest(root), sorted(root.rglob("*"))
    for path, options, error, said in (
        (
            stranger,
            HeadOptions("x"),
            EncoderMismatch,
            rf"other \({other.digest}\).*precomputed \({fingerprint.digest}\)",
        ),
        (cut, HeadOptions("x"), HeadError, "damaged"),
        (root.parent / "no.safetensors", HeadOptions("x"), HeadError, "cannot be read"),
        (good, HeadOptions(), InvalidInput, "nestvec remove .* --space nested"),
        (good, HeadOptions(use=True, dtype="float16"), InvalidInput, "already"),
        (good, HeadOptions("main", use=True), InvalidInput, "Choose another name$"),
        (good, HeadOptions("../x"), InvalidInput, "found '../x'"),
        (good, HeadOptions("a b"), InvalidInput, "1 to 64"),
        (good, HeadOptions("x", [IndexSpec("flat", 9)]), InvalidSpec, "only 8 dimensions"),
    ):
        with pytest.raises(error, match=said):
            apply_head(root, path, options)
    with pytest.raises(InvalidInput, match="int8"):
        HeadOptions("x", dtype="int8")
    assert newest(root) == before
    assert sorted(root.rglob("*")) == files


# -- pictures ------------------------------------------------------------------------------


@needs_bundled
def test_pictures_that_are_added_renamed_relabelled_and_changed(tmp_path: Path) -> None:
    root, photos = tmp_path / "c.nest", tmp_path / "photos"
    for number in range(6):
        draw(photos / f"p{number}.png", number)
    index(root, photos)
    head = two_towers(fingerprint_of(root), 32, dims=(8, 16))
    applied(root, head, use=True)
    with Collection.open(root) as opened:
        found = opened.similar(photos / "p1.png", k=6, include_self=True)
        held = opened.similar(draw(tmp_path / "same.png", 1), k=6)
        np.testing.assert_allclose(held.scores, found.scores, atol=2e-3)
        texts = opened.search("a red circle", k=6, exact=True)
        queries = head(
            encoder_of(newest(root).space(), wanted=None, pool=None, device="cpu").encode_texts(["a red circle"]),
            "queries",
        )
        np.testing.assert_allclose(texts.scores, -np.sort(-live_scores(opened, queries)[0])[:6], atol=2e-6)
    (photos / "p1.png").rename(photos / "renamed.png")
    (photos / "p2.txt").write_text("a caption")
    (photos / "p3.png").touch()
    draw(photos / "p4.png", 40)
    draw(photos / "p9.png", 9)
    (photos / "p5.png").unlink()
    summary = index(root, photos)
    assert (summary.moved, summary.relabelled, summary.changed, summary.added, summary.removed) == (1, 1, 1, 1, 1)
    assert summary.encoded == 2
    assert_derived(root, head)
    with Collection.open(root) as opened:
        np.testing.assert_allclose(opened.similar("renamed.png", k=1, include_self=True).scores, [1], atol=2e-3)
        opened.compact()
        assert {Path(uri).name for uri in opened.search("a circle", k=9).uris} == {
            *("p0.png", "renamed.png", "p2.png", "p3.png", "p4.png", "p9.png")
        }
    assert_derived(root, head)
    assert list(verify(root)) == []
