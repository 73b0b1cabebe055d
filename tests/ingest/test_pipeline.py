"""The pipeline with a real encoder: a small CLIP model made here."""

from __future__ import annotations

import io
import json
import logging
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from blake3 import blake3
from numpy.typing import NDArray
from open_clip.model import CLIP
from PIL import Image
from safetensors.torch import save_file

from engine.encoders.base import Device, Encoder, Fingerprint, Modality
from engine.encoders.device import set_torch_threads, torch_threads
from engine.encoders.pictures import decode_picture
from engine.encoders.precomputed import PrecomputedEncoder
from engine.encoders.registry import load_encoder
from engine.ingest.pipeline import Encoded, Outcome, PipelineStats, Skipped, encode_pictures
from engine.storage.kinds import DEFAULT_MAX_PIXELS
from indexers.errors import InvalidInput, ModalityError, PictureError
from indexers.vectors import FloatArray

MODEL: dict[str, Any] = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 64, "layers": 2, "width": 64, "patch_size": 16, "head_width": 16},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 64, "heads": 4, "layers": 1},
}
SAMPLE = sorted((Path(__file__).parents[2] / "data" / "sample" / "photos").glob("*"))


@pytest.fixture(autouse=True, scope="module")
def one_torch_thread() -> Iterator[None]:
    """On a busy machine OpenMP's barriers make two threads several times slower than one."""
    with torch_threads():
        set_torch_threads(1)
        yield


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    at = tmp_path_factory.mktemp("clip")
    torch.manual_seed(6)
    save_file(CLIP(**MODEL).state_dict(), at / "w.safetensors")
    (at / "m.json").write_text(json.dumps(MODEL))
    return load_encoder(f"clip:{at}/m.json:{at}/w.safetensors", device="cpu")


@pytest.fixture(scope="module")
def files() -> list[bytes]:
    """Forty-one pictures, all different."""
    made = []
    for i in range(41):
        with Image.open(SAMPLE[i % len(SAMPLE)]) as image:
            turned = image.convert("RGB").rotate(3 * i, expand=False)
        stream = io.BytesIO()
        turned.save(stream, "PNG" if i % 5 == 0 else "JPEG")
        made.append(stream.getvalue())
    return made


def never(content: str) -> bool:
    return False


@dataclass
class Run:
    """The pipeline with defaults, so that a test names only what it is about."""

    encoder: Encoder
    batch_size: int = 4
    workers: int = 2

    def __call__(
        self,
        items: Any,
        read: Callable[[Any], bytes],
        reuse: Callable[[str], bool] = never,
        max_pixels: int = DEFAULT_MAX_PIXELS,
        stats: PipelineStats | None = None,
    ) -> Iterator[list[Outcome[Any]]]:
        return encode_pictures(
            self.encoder,
            items,
            read,
            reuse=reuse,
            batch_size=self.batch_size,
            workers=self.workers,
            max_pixels=max_pixels,
            stats=stats,
        )


class PretendGpu:
    """The real encoder, said to be on a GPU whose memory holds `room` pictures.

    It stands in for the one thing a test machine cannot have, and computes nothing itself.
    """

    def __init__(self, encoder: Encoder, room: int = 10**9) -> None:
        self.encoder = encoder
        self.room = room
        self.sizes: list[int] = []

    name = property(lambda self: self.encoder.name)
    dim = property(lambda self: self.encoder.dim)
    modalities: frozenset[Modality] = frozenset({"image", "text"})
    trained_dims: tuple[int, ...] = ()
    device: Device = "cuda"
    image_size = property(lambda self: self.encoder.image_size)

    @property
    def fingerprint(self) -> Fingerprint:
        return self.encoder.fingerprint

    def prepare(self, picture: Image.Image) -> NDArray[np.float32]:
        assert threading.current_thread().name.startswith("nestvec-decoder")
        return self.encoder.prepare(picture)

    def encode_images(self, batch: NDArray[np.float32]) -> FloatArray:
        assert threading.current_thread().name.startswith("nestvec-encoder")
        self.sizes.append(len(batch))
        if len(batch) > self.room:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return self.encoder.encode_images(batch)

    def encode_texts(self, texts: Sequence[str]) -> FloatArray:
        return self.encoder.encode_texts(texts)


@pytest.fixture(params=["cpu", "gpu"])
def run(request: pytest.FixtureRequest, encoder: Encoder) -> Run:
    """Both ways in which the work is shared out."""
    return Run(encoder if request.param == "cpu" else PretendGpu(encoder))


def sequential(encoder: Encoder, files: Sequence[bytes]) -> FloatArray:
    rows = [encoder.prepare(decode_picture(data, min_side=encoder.image_size)) for data in files]
    return np.concatenate([encoder.encode_images(row[None]) for row in rows])


def our_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("nestvec-")]


def vectors(batches: Iterator[list[Outcome[Any]]]) -> FloatArray:
    found = [one.vector for batch in batches for one in batch if isinstance(one, Encoded)]
    return np.stack([vector for vector in found if vector is not None])


@pytest.mark.parametrize(("batch_size", "workers"), [(1, 1), (4, 2), (7, 3), (64, 2)])
@pytest.mark.parametrize("gpu", [False, True])
def test_it_gives_what_encoding_one_by_one_gives(
    encoder: Encoder, files: list[bytes], batch_size: int, workers: int, gpu: bool
) -> None:
    run = Run(PretendGpu(encoder) if gpu else encoder, batch_size, workers)
    batches = list(run(range(41), files.__getitem__))
    done = [one for batch in batches for one in batch]
    assert [one.item for one in done] == list(range(41))
    assert [len(batch) for batch in batches[:-1]] == [batch_size] * (len(batches) - 1)
    np.testing.assert_allclose(vectors(iter(batches)), sequential(encoder, files), atol=2e-6, rtol=0)
    for one, data in zip(done, files, strict=True):
        assert isinstance(one, Encoded)
        with Image.open(io.BytesIO(data)) as image:
            assert (one.width, one.height) == image.size
        assert one.content == f"b3:{blake3(data).hexdigest()[:32]}"


def test_failures_stay_in_their_places(run: Run, encoder: Encoder, files: list[bytes]) -> None:
    def read(item: int) -> bytes:
        if item == 5:
            raise FileNotFoundError(2, "No such file or directory", "gone.jpg")
        if item == 6:
            raise PictureError("refused by the reader")
        return {9: b"", 10: files[10][: len(files[10]) // 2], 11: b"text"}.get(item, files[item])

    done = [one for batch in run(range(20), read) for one in batch]
    assert [one.item for one in done] == list(range(20))
    skipped = {one.item: one.reason for one in done if isinstance(one, Skipped)}
    assert sorted(skipped) == [5, 6, 9, 10, 11]
    assert "gone.jpg" in skipped[5]
    assert skipped[6] == "refused by the reader"
    assert "empty" in skipped[9]
    kept = [i for i in range(20) if i not in skipped]
    expected = sequential(encoder, [files[i] for i in kept])
    np.testing.assert_allclose(vectors(iter([done])), expected, atol=2e-6, rtol=0)


def test_a_batch_of_nothing_but_failures(run: Run) -> None:
    done = [one for batch in run(range(9), lambda item: b"no picture") for one in batch]
    assert [type(one) for one in done] == [Skipped] * 9


def test_no_items(run: Run) -> None:
    assert list(run([], lambda item: b"")) == []


def test_known_content_is_not_decoded(run: Run, files: list[bytes]) -> None:
    broken = files[3][:500]
    known = {f"b3:{blake3(data).hexdigest()[:32]}" for data in (files[1], broken)}
    stats = PipelineStats()
    items = [files[0], files[1], broken, files[2]]
    done = [one for batch in run(items, lambda data: data, known.__contains__, stats=stats) for one in batch]
    assert [isinstance(one, Encoded) for one in done] == [True] * 4
    assert [one.vector is None for one in done if isinstance(one, Encoded)] == [False, True, True, False]
    assert [one.width == one.height == 0 for one in done if isinstance(one, Encoded)] == [False, True, True, False]
    assert stats.pictures == 2


def test_other_errors_end_the_run_and_leave_no_threads(run: Run, files: list[bytes]) -> None:
    def read(item: int) -> bytes:
        if item == 17:
            raise ZeroDivisionError("a bug")
        return files[item]

    seen: list[int] = []
    with pytest.raises(ZeroDivisionError, match="a bug"):
        for batch in run(range(41), read):
            seen += [one.item for one in batch]
    assert seen == list(range(16))
    assert our_threads() == []


def test_an_error_of_the_source_ends_the_run(run: Run, files: list[bytes]) -> None:
    def items() -> Iterator[int]:
        yield from range(30)
        raise RuntimeError("the listing broke")

    with pytest.raises(RuntimeError, match="the listing broke"):
        list(run(items(), files.__getitem__))
    assert our_threads() == []


def test_closing_early_stops_at_once(run: Run, files: list[bytes]) -> None:
    taken: list[int] = []

    def read(item: int) -> bytes:
        taken.append(item)
        time.sleep(0.01)
        return files[item % 41]

    run.batch_size = 40
    batches = cast("Generator[list[Outcome[int]], None, None]", run(range(10**9), read))
    next(batches)
    assert our_threads() != []
    before = len(taken)
    batches.close()
    # Each of the two threads finishes the picture it is at, and not its batch of forty.
    assert len(taken) <= before + 4
    assert our_threads() == []
    after = len(taken)
    time.sleep(0.05)
    assert len(taken) == after


def test_an_interrupt_in_the_callers_loop_stops_the_threads(run: Run, files: list[bytes]) -> None:
    with pytest.raises(KeyboardInterrupt):
        for _ in run(range(10**9), lambda item: files[item % 41]):
            raise KeyboardInterrupt
    assert our_threads() == []


def test_a_slow_consumer_is_not_run_away_from(run: Run, files: list[bytes]) -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for item in range(400):
            taken.append(item)
            yield item

    most, given = 0, 0
    for batch in run(items(), lambda item: files[item % 41]):
        given += len(batch)
        time.sleep(0.005)
        most = max(most, len(taken) - given)
    assert given == 400
    assert most <= 4 * run.workers * run.batch_size


def test_torchs_thread_count_is_put_back(run: Run, files: list[bytes]) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        batches = iter(run(range(20), files.__getitem__))
        next(batches)
        assert torch.get_num_threads() == 2
        list(batches)
        counts: list[int] = []
        thread = threading.Thread(target=lambda: counts.append(torch.get_num_threads()))
        thread.start()
        thread.join()
        assert (torch.get_num_threads(), counts) == (2, [2])
    finally:
        torch.set_num_threads(before)


def test_the_pixel_cap_is_handed_on(run: Run, files: list[bytes]) -> None:
    done = [one for batch in run(files[:3], lambda data: data, max_pixels=10) for one in batch]
    assert all(isinstance(one, Skipped) and "limit of 10" in one.reason for one in done)


def test_width_and_height_are_those_in_the_file(encoder: Encoder) -> None:
    exif = Image.Exif()
    exif[0x0112] = 8
    stream = io.BytesIO()
    Image.linear_gradient("L").resize((1600, 1200)).convert("RGB").save(stream, "JPEG", exif=exif)
    ((one,),) = list(Run(encoder)([0], lambda item: stream.getvalue()))
    assert isinstance(one, Encoded)
    assert (one.width, one.height) == (1200, 1600)


def test_the_numbers_add_up(run: Run, files: list[bytes]) -> None:
    stats = PipelineStats()
    started = time.perf_counter()
    list(run(range(41), files.__getitem__, stats=stats))
    wall = time.perf_counter() - started
    assert stats.pictures == 41
    assert 0 < stats.total_seconds <= wall
    assert stats.decode_cpu_seconds > 0
    assert stats.encode_cpu_seconds > 0
    assert 0 <= stats.encoder_idle_share < 1
    assert stats.encoder_busy_seconds <= stats.encoders * stats.total_seconds * 1.05
    cpu = stats.decode_cpu_seconds + stats.encode_cpu_seconds
    assert stats.ideal_pictures_per_second == pytest.approx(stats.cores * 41 / cpu)
    assert stats.efficiency == pytest.approx(41 / stats.total_seconds / stats.ideal_pictures_per_second)
    assert PipelineStats().efficiency == 0.0


def test_gpu_memory_running_out_halves_the_batch(
    encoder: Encoder, files: list[bytes], caplog: pytest.LogCaptureFixture
) -> None:
    gpu = PretendGpu(encoder, room=5)
    with caplog.at_level(logging.WARNING, logger="nestvec"):
        found = vectors(Run(gpu, batch_size=16)(range(41), files.__getitem__))
    np.testing.assert_allclose(found, sequential(encoder, files), atol=2e-6, rtol=0)
    # 16 and 8 fail, 4 fits, and nothing larger is tried again.
    assert gpu.sizes == [16, 8, *[4] * 8, 4, 4, 1]
    assert [record.getMessage() for record in caplog.records] == [
        "cuda memory ran out at 16 pictures; going on with 8",
        "cuda memory ran out at 8 pictures; going on with 4",
    ]


def test_gpu_memory_too_small_for_one_picture_moves_to_the_cpu(
    encoder: Encoder, files: list[bytes], caplog: pytest.LogCaptureFixture
) -> None:
    gpu = PretendGpu(encoder, room=0)
    with caplog.at_level(logging.WARNING, logger="nestvec"):
        found = vectors(Run(gpu, batch_size=2)(range(7), files.__getitem__))
    np.testing.assert_allclose(found, sequential(encoder, files[:7]), atol=2e-6, rtol=0)
    assert gpu.sizes == [2, 1]
    assert "going on on the CPU" in caplog.records[-1].getMessage()


def test_other_runtime_errors_of_a_gpu_are_not_taken_for_that(encoder: Encoder, files: list[bytes]) -> None:
    class Broken(PretendGpu):
        def encode_images(self, batch: NDArray[np.float32]) -> FloatArray:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")

    with pytest.raises(RuntimeError, match="illegal memory access"):
        list(Run(Broken(encoder))(range(5), files.__getitem__))
    assert our_threads() == []


@pytest.mark.parametrize(("batch_size", "workers"), [(0, 1), (1, 0), (-1, 2)])
def test_sizes_below_one_are_refused_before_anything_starts(encoder: Encoder, batch_size: int, workers: int) -> None:
    with pytest.raises(InvalidInput, match="at least 1"):
        Run(encoder, batch_size, workers)([], lambda item: b"")


def test_an_encoder_without_an_image_tower_is_refused() -> None:
    with pytest.raises(ModalityError):
        Run(PrecomputedEncoder(name="x", dim=3))([], lambda item: b"")


@pytest.mark.gpu
def test_a_real_gpu(encoder: Encoder, files: list[bytes]) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    on_gpu = load_encoder(encoder.name, device="cuda")
    found = vectors(Run(on_gpu, batch_size=16)(range(41), files.__getitem__))
    np.testing.assert_allclose(found, sequential(encoder, files), atol=5e-3, rtol=0)
