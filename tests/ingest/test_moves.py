"""Sources that are elsewhere than they were: taken for the same only if the same is in them."""

from __future__ import annotations

from pathlib import Path

from engine.api import Collection
from tests.helpers import clustered, draw, index, save


def test_a_card_of_the_same_name_is_another_source(tmp_path: Path) -> None:
    """Every camera card is called DCIM: the second must not take the first one's place."""
    root = tmp_path / "c.nest"
    for number, folder in enumerate(("one", "two")):
        (tmp_path / folder).mkdir()
        save(tmp_path / folder / "DCIM.npy", clustered(50, 8, seed=number))
    index(root, tmp_path / "one/DCIM.npy")
    (tmp_path / "one").rename(tmp_path / "unmounted")
    summary = index(root, tmp_path / "two/DCIM.npy")
    assert (summary.added, summary.changed, summary.removed) == (50, 0, 0)
    with Collection.open(root) as collection:
        assert len(collection) == 100
        assert collection.search(clustered(50, 8, seed=0)[0], k=1).scores[0] > 0.999


def test_a_vector_file_that_was_moved_is_the_same(tmp_path: Path) -> None:
    root = tmp_path / "c.nest"
    index(root, save(tmp_path / "v.npy", clustered(50, 8)))
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "v.npy").rename(tmp_path / "elsewhere/v.npy")
    summary = index(root, tmp_path / "elsewhere/v.npy")
    assert (summary.added, summary.changed, summary.removed, summary.unchanged) == (0, 0, 0, 50)


def test_a_folder_of_pictures_under_another_name(tmp_path: Path) -> None:
    root = tmp_path / "c.nest"
    for seed in range(4):
        draw(tmp_path / f"DCIM/{seed}.png", seed)
    index(root, tmp_path / "DCIM")
    (tmp_path / "DCIM").rename(tmp_path / "Pictures")
    summary = index(root, tmp_path / "Pictures")
    assert (summary.added, summary.encoded, summary.removed, summary.unchanged) == (0, 0, 0, 4)
    with Collection.open(root) as collection:
        assert collection.similar(0, k=1).uris[0].startswith(str(tmp_path / "Pictures"))
    # Other pictures under the old name are another source, while the moved one is where it is.
    draw(tmp_path / "DCIM/new.png", 9, size=(80, 60))
    assert index(root, tmp_path / "DCIM").added == 1
