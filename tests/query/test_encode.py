"""What a program may ask with: one or several, a path as text or as path; and nothing ends in a riddle."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine import Collection
from engine.jobs.create import create
from indexers.errors import InvalidInput, NestvecError, PictureError
from tests.faults.bases import Letters
from tests.helpers import clustered, draw

D = 8
WRONG: tuple[Any, ...] = (
    *(None, True, 3.5, np.float32(2), 2**70, -1, b"a.jpg", object(), {"a": 1}, [None], [b"a"], ["a", 3], [[1], [1, 2]]),
    *("", "\0", "\udcff", "x" * 9000, Path("x\0"), Path("none"), [Path("none")], np.ones(3), np.array(["a"]), {"ab"}),
)


class Seeing(Letters):
    """Encodes a picture by its mean colour; no weights."""

    modalities = frozenset({"image", "text"})  # type: ignore[assignment]

    def prepare(self, picture: Any) -> Any:
        return np.asarray(picture, np.float32).mean(axis=(0, 1))

    def encode_images(self, batch: Any) -> Any:
        rows = np.pad(batch, ((0, 0), (0, D - batch.shape[1])))
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collection]:
    root = tmp_path_factory.mktemp("queries") / "c.nest"
    create(root, Seeing())
    with Collection(root, encoder=Seeing()) as made:
        made.add_vectors(clustered(20, D), names=[f"row-{row}" for row in range(20)], source="rows")
        yield made


def test_a_picture_by_its_path(opened: Collection, tmp_path: Path) -> None:
    path = draw(tmp_path / "a.png", 1)
    expected = opened.encode_picture(path)
    assert expected.shape == (D,)
    np.testing.assert_array_equal(opened.encode_picture(str(path)), expected)
    assert opened.similar(path).ids.tolist() == opened.similar(str(path)).ids.tolist()
    assert [len(one) for one in opened.similar([path, "row-3", 4, np.int64(5)], k=3)] == [3] * 4
    for wrong in ([path], None, path.read_bytes(), 3):
        with pytest.raises(InvalidInput, match="a picture is given by the path of its file, one at a time"):
            opened.encode_picture(wrong)  # type: ignore[arg-type]
    with pytest.raises(PictureError, match=r"cannot be read"):
        opened.encode_picture(tmp_path / "none.png")
    with pytest.raises(InvalidInput, match=r"pictures like .* are found by similar"):
        opened.search(path)


def test_one_text_or_several(opened: Collection) -> None:
    assert opened.encode_texts("a dog").shape == (1, D)
    np.testing.assert_array_equal(opened.encode_texts("a dog"), opened.encode_texts(["a dog"]))


@pytest.mark.parametrize("verb", ["search", "similar", "encode_picture", "encode_texts"])
def test_whatever_is_asked_with_ends_in_an_answer_or_a_named_error(opened: Collection, verb: str) -> None:
    for wrong in WRONG:
        try:
            getattr(opened, verb)(wrong)
        except NestvecError as error:
            assert str(error)


@pytest.mark.parametrize(
    "how",
    [
        *({"k": k} for k in ("5", 0, 2.5, None, [1])),
        *({"plan": plan} for plan in (5, b"exact", [], object())),
        *({"dim": dim} for dim in ("4", [1], 2.5, 0, -1, 2**80)),
        *({"recall": recall} for recall in ("x", [1], 0, 2, 0.9)),
        *({"exact": exact} for exact in ("no", 1, [])),
    ],
)
def test_how_it_is_asked(opened: Collection, how: dict[str, Any]) -> None:
    for verb, query in (("search", "a dog"), ("similar", 0)):
        with pytest.raises(InvalidInput):
            getattr(opened, verb)(query, **how)


def test_one_item_or_several_to_remove(opened: Collection) -> None:
    assert opened.remove(Path("row-1")).removed == 1
    assert opened.remove(["row-2", Path("row-3")]).removed == 2
    assert opened.remove(ids=5).removed == 1  # type: ignore[arg-type]
