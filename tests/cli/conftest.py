"""Collections that the command is tried on, made once."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from engine.api import Collection
from tests.helpers import clustered, draw, index, save


@pytest.fixture(scope="session")
def vectors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `c.nest`, sixty rows of precomputed vectors; captions and names are hostile."""
    folder = tmp_path_factory.mktemp("vectors")
    names = [f"row-{row}" for row in range(60)]
    names[1] = "<script>alert(1)</script>\n\x1b[31mred.png"
    captions = [f"caption {row}" for row in range(60)]
    captions[0] = "bold \x1b[1m, \x9b31m, \u2028, <b>&\"'</b> and \u732b"
    with Collection.create(folder / "c.nest", encoder="precomputed", dim=8) as opened:
        opened.add_vectors(clustered(60, 8), names=names, captions=captions, meta=[{"n": row} for row in range(60)])
    save(folder / "q.npy", clustered(60, 8)[:3])
    return folder


@pytest.fixture
def own(vectors: Path, tmp_path: Path) -> Path:
    """A copy of that folder that may be changed."""
    return Path(shutil.copytree(vectors, tmp_path / "own"))


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `photos` and `c.nest`, four pictures encoded by the bundled encoder, one of an odd name."""
    folder = tmp_path_factory.mktemp("pictures")
    for number in range(3):
        draw(folder / f"photos/p{number}.png", number)
    draw(Path(os.fsdecode(os.fsencode(folder) + b"/photos/<img src=x>\xe9.png")), 3)
    (folder / "photos/p0.txt").write_text('"><script>alert(1)</script>')
    (folder / "photos/broken.jpg").write_text("no picture")
    assert index(folder / "c.nest", folder / "photos", specs=["flat@32"]).failed == 1
    return folder
