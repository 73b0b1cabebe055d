"""Index files: what is written is read, and nothing else is."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import faiss
import numpy as np
import pytest

from indexers.base import FaissIndex, IndexSpec
from indexers.build import build
from indexers.errors import CorruptCollection
from indexers.families.registry import FAMILIES, family, resolve
from indexers.files import FOOTER, MAGIC, _is_known, read_index, write_index
from indexers.prefix import Front, wrap
from indexers.store import VectorStore
from tests.conftest import structured

N, D = 300, 24
TEXTS = (
    "flat@8",
    "flat@24",
    "sq@8",
    "sq@24:bits=4",
    "ivf-flat@8",
    "ivf-pq@8",
    "ivf-pq@24:rotate=0",
    "ivf-pq@8:refine=8",
    "hnsw@8",
)


def spec_of(text: str) -> IndexSpec:
    return resolve(IndexSpec.parse(text), N, D)


def built(text: str) -> FaissIndex:
    xb = structured(N, D, seed=0).xb
    return build(spec_of(text), VectorStore(xb), device="cpu")


def read(path: Path, text: str, *, full_dim: int = D, rows: int = N) -> FaissIndex:
    return read_index(path, spec=spec_of(text), full_dim=full_dim, rows=rows)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("files")
    paths = {text: folder / f"{number}.faiss" for number, text in enumerate(TEXTS)}
    for text, path in paths.items():
        write_index(built(text), path)
    return paths


def test_every_family_is_here() -> None:
    assert {spec_of(text).family for text in TEXTS} == set(FAMILIES)


@pytest.mark.parametrize("text", TEXTS)
def test_what_was_written_is_read(files: dict[str, Path], text: str) -> None:
    xq = structured(N, D, seed=0).xq
    made, found = built(text).search(xq, 10), read(files[text], text).search(xq, 10)
    np.testing.assert_array_equal(made[1], found[1])
    np.testing.assert_array_equal(made[0], found[0])


@pytest.mark.parametrize("text", TEXTS)
def test_files_of_every_family_can_be_outlined(text: str) -> None:
    """Where this is not so, nothing looks at a file before FAISS does."""
    assert _is_known(spec_of(text), D)


def test_the_footer_is_ours_and_plain_faiss_does_not_mind(files: dict[str, Path]) -> None:
    for path in files.values():
        data = path.read_bytes()
        assert data[-FOOTER.size :] == MAGIC + (len(data) - 16).to_bytes(8, "little")
        assert faiss.read_index(str(path)).ntotal == N


@pytest.mark.parametrize("text", TEXTS)
def test_another_index_than_declared(files: dict[str, Path], text: str) -> None:
    with pytest.raises(CorruptCollection, match="expected an index of 299 rows × 24, found 300 × 24"):
        read(files[text], text, rows=N - 1)
    with pytest.raises(CorruptCollection, match="expected an index of 300 rows × 25"):
        read(files[text], text, full_dim=D + 1)
    for other in (
        *TEXTS,
        "flat@9",
        "ivf-flat@8:nlist=3",
        "ivf-pq@8:m=2",
        "ivf-pq@8:rotate=0",
        "ivf-pq@8:residual=1",
        "ivf-pq@8:refine=8",
        "sq@8:bits=6",
    ):
        if other != text:
            with pytest.raises(CorruptCollection, match="is made of"):
                read(files[text], other)


@pytest.mark.parametrize("text", TEXTS)
def test_files_cut_short(files: dict[str, Path], tmp_path: Path, text: str) -> None:
    """FAISS' mapped reader reads past the end of such files and kills the process."""
    data = files[text].read_bytes()
    path = tmp_path / "cut.faiss"
    for length in {*range(0, 100, 3), *range(0, len(data), len(data) // 20), *range(len(data) - 20, len(data))}:
        path.write_bytes(data[:length])
        with pytest.raises(CorruptCollection, match="do not end as an index"):
            read(path, text)
    path.write_bytes(data + b"\0")
    with pytest.raises(CorruptCollection, match="do not end as an index"):
        read(path, text)


def garbage(kind: int) -> bytes:
    rng = np.random.default_rng(kind)
    body = [b"", b"IxFI", b"IxPT", b"IwPf", b"IHNf", b"IxSQ", b"IxFI" + bytes(100)][kind % 7]
    body += rng.bytes(int(rng.integers(0, 400)))
    return body + FOOTER.pack(MAGIC, len(body))


def test_missing_files_and_folders(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(CorruptCollection):
            read(path, "flat@8")


def parameters(text: str, index: FaissIndex) -> object:
    """Search parameters as the engine makes them: those in the file are not used."""
    spec = spec_of(text)
    inner = family(spec.family).search_parameters(family(spec.family).default_probe(spec), None)
    if isinstance(index, faiss.IndexPreTransform):
        return faiss.SearchParametersPreTransform(index_params=inner)
    return inner


def attack(folder: Path, first: int, last: int) -> None:
    """Read damaged files that end in a whole footer, and search what can be read. For a process of its own."""
    path = folder / "bad.faiss"
    xq = structured(N, D, seed=0).xq[:2]
    for number in range(first, last):
        rng = np.random.default_rng(number)
        text = TEXTS[number % len(TEXTS)]
        data = bytearray((folder / f"{number % len(TEXTS)}.faiss").read_bytes())
        if number % 5 == 0:
            data = bytearray(garbage(number))
        else:
            inside = len(data) - FOOTER.size
            for at in rng.integers(min(inside, 500) if number % 5 < 3 else inside, size=3):
                data[at] = int(rng.integers(256))
        path.write_bytes(data)
        try:
            index = read(path, text)
        except CorruptCollection:
            continue
        try:
            ids = index.search(xq, 10, params=parameters(text, index))[1]
        except (RuntimeError, MemoryError):
            continue
        if ids.max() >= N or ids.min() < -1:
            raise SystemExit(f"{text} damaged by {number} answers rows that do not exist")


@pytest.mark.parametrize("part", [0, 1])
def test_damaged_files_do_not_kill_the_process(files: dict[str, Path], part: int) -> None:
    """The hash of a file is checked before it is read; this is for files whose hash was made to fit."""
    folder = files[TEXTS[0]].parent
    code = (
        "import sys; from pathlib import Path; from tests.indexers.test_files import attack;"
        f"attack(Path({str(folder)!r}), {part * 300}, {part * 300 + 300})"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


def test_rows_that_do_not_exist(tmp_path: Path) -> None:
    """A cell that names them would make the rerank read memory that is not its own."""
    spec = spec_of("ivf-flat@8")
    xb = structured(N, D, seed=0).xb
    for wrong in (N, -5, 10**12):
        outer = built("ivf-flat@8")
        inner = faiss.downcast_index(outer.index)
        inner.reset()
        ids = np.arange(N)
        ids[-1] = wrong
        inner.add_with_ids(np.ascontiguousarray(xb[:, :8]), ids)
        write_index(wrap(inner, Front(spec, D)), tmp_path / "i.faiss")
        with pytest.raises(CorruptCollection, match="rows that do not exist"):
            read(tmp_path / "i.faiss", "ivf-flat@8")


def test_another_metric(tmp_path: Path) -> None:
    index = faiss.IndexFlatL2(D)
    index.add(structured(N, D, seed=0).xb)
    write_index(index, tmp_path / "i.faiss")
    with pytest.raises(CorruptCollection, match="is made of"):
        read(tmp_path / "i.faiss", "flat@24")


def test_threads_read_files_of_other_sizes(files: dict[str, Path]) -> None:
    """The limits FAISS reads with are one for the process; each file must be read with its own."""

    def often(text: str) -> int:
        return sum(read(files[text], text).ntotal for _ in range(150))

    small, large = sorted(TEXTS, key=lambda text: files[text].stat().st_size)[:: len(TEXTS) - 1]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as pool:
            assert set(pool.map(often, [small, large, small, large])) == {150 * N}
    finally:
        sys.setswitchinterval(interval)
