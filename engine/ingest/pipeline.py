"""Pictures in, vectors out, in order: decoding runs beside encoding.

On a CPU the rule is one worker thread per core, each of which decodes and encodes its own
small batches with one torch thread: no encoder waits for a JPEG, and no OpenMP barrier waits
for a thread that the system has put aside. On a GPU, `workers` threads decode ahead of one
thread that encodes.
"""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

from engine.encoders.base import Encoder, require_modality, require_same
from engine.encoders.device import set_torch_threads, torch_threads
from engine.encoders.huge import ThinPicture
from engine.encoders.pictures import decode_sized
from engine.encoders.registry import load_encoder
from indexers.errors import InvalidInput, PictureError
from indexers.threads import available_cores
from indexers.vectors import FloatArray

T = TypeVar("T")
_log = logging.getLogger("nestvec")

# Batches prepared ahead of a GPU; each holds its pictures as float32 [C, H, W].
_GPU_AHEAD = 3


@dataclass(frozen=True)
class Encoded(Generic[T]):
    """One picture that was read.

    Attributes:
        item: what the caller gave.
        content: "b3:" and the first 32 hex digits of BLAKE3 of the file's bytes.
        width: width in pixels of the upright picture; 0 if it was not decoded.
        height: height in pixels of the upright picture; 0 if it was not decoded.
        vector: unit float32 [D], or None if `reuse` knew the content: nothing was decoded.
        found: what the file says of itself, as `told` has it.
        note: what is wrong with a picture that was read all the same.
    """

    item: T
    content: str
    width: int
    height: int
    vector: FloatArray | None
    found: str | None = None
    note: str | None = None


@dataclass(frozen=True)
class Skipped(Generic[T]):
    """One picture that could not be read or decoded.

    Attributes:
        item: what the caller gave.
        reason: why, in one line.
        passing: whether that may pass by itself: the file could not be read, or there was no memory.
        side: pixels of the shorter side of a picture that is smaller than is wanted; 0 for any other.
    """

    item: T
    reason: str
    passing: bool = False
    side: int = 0


@dataclass
class PipelineStats:
    """What a run cost; filled while it runs, and readable between batches.

    Attributes:
        cores: cores the process may use.
        encoders: threads that encode; on a CPU these also decode.
        pictures: pictures encoded so far.
        decode_cpu_seconds: CPU time of reading, hashing, decoding and preparing.
        encode_cpu_seconds: CPU time of encoding, as its own thread sees it.
        encoder_busy_seconds: wall time that the encoding threads spent on work, added up.
        total_seconds: wall time from the first batch asked for to the last one given.
    """

    cores: int = field(default_factory=available_cores)
    encoders: int = 1
    pictures: int = 0
    decode_cpu_seconds: float = 0.0
    encode_cpu_seconds: float = 0.0
    encoder_busy_seconds: float = 0.0
    total_seconds: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False, compare=False)

    def add(self, *, pictures: int = 0, decode_cpu: float = 0.0, encode_cpu: float = 0.0, busy: float = 0.0) -> None:
        """Add to the sums; safe to call from many threads."""
        with self._lock:
            self.pictures += pictures
            self.decode_cpu_seconds += decode_cpu
            self.encode_cpu_seconds += encode_cpu
            self.encoder_busy_seconds += busy

    @property
    def pictures_per_second(self) -> float:
        """Pictures encoded per second of wall time; 0 before anything was."""
        return self.pictures / self.total_seconds if self.total_seconds else 0.0

    @property
    def encoder_idle_share(self) -> float:
        """Share of the encoding threads' wall time in which they had nothing to do."""
        available = self.encoders * self.total_seconds
        return max(0.0, 1.0 - self.encoder_busy_seconds / available) if available else 0.0

    @property
    def ideal_pictures_per_second(self) -> float:
        """What the cores could do if each was always decoding or encoding; 0 before anything was."""
        cpu = self.decode_cpu_seconds + self.encode_cpu_seconds
        return self.cores * self.pictures / cpu if cpu else 0.0

    @property
    def efficiency(self) -> float:
        """The part of the ideal that was reached (meaningful on a CPU)."""
        ideal = self.ideal_pictures_per_second
        return self.pictures_per_second / ideal if ideal else 0.0


@dataclass(frozen=True)
class _Ready(Generic[T]):
    """A picture that is prepared and waits to be encoded."""

    item: T
    content: str
    width: int
    height: int
    pixels: NDArray[np.float32]
    found: str | None
    note: str | None


Outcome = Encoded[T] | Skipped[T]
_Prepared = _Ready[T] | Encoded[T] | Skipped[T]


def encode_pictures(
    encoder: Encoder,
    items: Iterable[T],
    read: Callable[[T], bytes],
    *,
    reuse: Callable[[str], bool],
    batch_size: int,
    workers: int,
    max_pixels: int,
    min_size: int = 0,
    told: Callable[[bytes], str | None] = lambda _: None,
    stats: PipelineStats | None = None,
) -> Generator[list[Outcome[T]], None, None]:
    """Encode pictures, yielding batches in the order of `items`.

    A bounded number of batches is in work at any time, and `items` is read only that far ahead.
    Closing the generator stops the threads and waits for them: at most the picture, and on a
    CPU the batch, that each is working on is finished.

    Args:
        encoder: has an image tower; its device decides how the work is shared out.
        items: what is to be encoded; anything `read` understands.
        read: returns an item's bytes. Called from many threads.
        reuse: is told a content hash and says whether its vector is already known. Called from
            many threads.
        batch_size: items in a batch; 8 to 32 suits a CPU, 128 and more a GPU.
        workers: threads: on a CPU those that decode and encode (`available_cores()` is best),
            on a GPU those that decode.
        max_pixels: the cap handed to `decode_picture`.
        min_size: pixels of the shorter side below which a picture is skipped.
        told: returns what a file's bytes say besides its pixels. Called from many threads.
        stats: filled during the run.

    Returns:
        Lists of `batch_size` outcomes (the last may be shorter). A picture that cannot be read
        (OSError) or decoded (PictureError) is a `Skipped`; any other error ends the run.

    Raises:
        ModalityError: the encoder has no image tower.
        InvalidInput: `batch_size` or `workers` is below 1.
    """
    require_modality(encoder, "image")
    for name, value in (("batch_size", batch_size), ("workers", workers)):
        if value < 1:
            raise InvalidInput(f"{name}: expected at least 1, found {value}")
    shared = _Shared(encoder, read, reuse, max_pixels, min_size, told, stats if stats is not None else PipelineStats())
    return _run(shared, items, batch_size, workers)


class _Shared(Generic[T]):
    """What all threads of one run share."""

    def __init__(
        self,
        encoder: Encoder,
        read: Callable[[T], bytes],
        reuse: Callable[[str], bool],
        max_pixels: int,
        min_size: int,
        told: Callable[[bytes], str | None],
        stats: PipelineStats,
    ) -> None:
        self.encoder = encoder
        self.stats = stats
        self.stopped = threading.Event()
        self._read = read
        self._reuse = reuse
        self._max_pixels = max_pixels
        self._min_size = min_size
        self._told = told
        self._part_size: int | None = None  # set once a GPU ran out of memory

    def prepare(self, item: T) -> _Prepared[T]:
        """Read, hash, decode and prepare one item."""
        if self.stopped.is_set():
            raise CancelledError
        started = time.thread_time()
        try:
            return self._prepare(item)
        except (PictureError, OSError) as error:
            passing = isinstance(error, OSError) or isinstance(error.__cause__, MemoryError)
            return Skipped(item, str(error) or type(error).__name__, passing)
        finally:
            self.stats.add(decode_cpu=time.thread_time() - started)

    def _prepare(self, item: T) -> _Prepared[T]:
        data = self._read(item)
        content = content_of(data)
        if self._reuse(content):
            return Encoded(item, content, 0, 0, None, self._told(data))
        try:
            decoded = decode_sized(data, max_pixels=self._max_pixels, min_side=self.encoder.image_size)
            side = min(decoded.width, decoded.height)
        except ThinPicture as error:
            if (side := error.side) >= self._min_size:
                raise
        if side < self._min_size:
            return Skipped(item, f"smaller than {self._min_size} pixels", side=side)
        pixels = self.encoder.prepare(decoded.image)
        return _Ready(item, content, decoded.width, decoded.height, pixels, self._told(data), decoded.note)

    def finish(self, prepared: list[_Prepared[T]]) -> list[Outcome[T]]:
        """Encode what is ready, and put the vectors in their places."""
        if self.stopped.is_set():
            raise CancelledError
        started = time.thread_time()
        ready = [one.pixels for one in prepared if isinstance(one, _Ready)]
        vectors = iter(self._encode(np.stack(ready)) if ready else ())
        done: list[Outcome[T]] = []
        for one in prepared:
            if isinstance(one, _Ready):
                done.append(Encoded(one.item, one.content, one.width, one.height, next(vectors), one.found, one.note))
            else:
                done.append(one)
        self.stats.add(pictures=len(ready), encode_cpu=time.thread_time() - started)
        return done

    def _encode(self, batch: NDArray[np.float32]) -> FloatArray:
        while True:
            size = self._part_size or len(batch)
            try:
                parts = [self.encoder.encode_images(part) for part in _split(batch, size)]
                return np.concatenate(parts) if len(parts) > 1 else parts[0]
            except RuntimeError as error:
                if self.encoder.device == "cpu" or not _out_of_memory(error):
                    raise
            # Outside the handler: the error's traceback keeps the tensors that filled the memory.
            self._make_room(min(size, len(batch)))

    def _make_room(self, failed: int) -> None:
        """After a GPU ran out of memory at `failed` pictures: halve, and at one move to the CPU."""
        device = self.encoder.device
        _empty_cache(device)
        if failed > 1:
            self._part_size = failed // 2
            _log.warning("%s memory ran out at %d pictures; going on with %d", device, failed, failed // 2)
            return
        _log.warning("%s memory ran out at a single picture; going on on the CPU", device)
        onward = load_encoder(self.encoder.name, device="cpu")
        require_same(self.encoder.fingerprint, onward.fingerprint, where="what was encoded so far")
        self.encoder, self._part_size = onward, None


def content_of(data: bytes) -> str:
    """Return what stands for a file's content: `b3:` and the first 32 hex digits of its BLAKE3."""
    return f"b3:{blake3(data).hexdigest()[:32]}"


def _split(batch: NDArray[np.float32], size: int) -> Iterator[NDArray[np.float32]]:
    for start in range(0, len(batch), size):
        yield batch[start : start + size]


def _out_of_memory(error: RuntimeError) -> bool:
    import torch

    # Metal has no class of its own for it.
    return isinstance(error, torch.cuda.OutOfMemoryError) or "out of memory" in str(error)


def _empty_cache(device: str) -> None:
    import torch

    if device == "cuda" and torch.cuda.is_available():
        torch.cuda.empty_cache()
    if device == "mps" and torch.backends.mps.is_available():
        torch.mps.empty_cache()


def _run(
    shared: _Shared[T], items: Iterable[T], batch_size: int, workers: int
) -> Generator[list[Outcome[T]], None, None]:
    on_cpu = shared.encoder.device == "cpu"
    shared.stats.encoders = workers if on_cpu else 1
    ahead = 2 * workers if on_cpu else _GPU_AHEAD
    chunks = _chunks(items, batch_size)
    started = time.perf_counter()
    with torch_threads() as threads:
        lanes = _one_thread_per_core(shared, workers) if on_cpu else _decoders_and_encoder(shared, workers, threads)
        with lanes as submit:
            waiting = deque(submit(chunk) for chunk in itertools.islice(chunks, ahead))
            while waiting:
                done = waiting.popleft().result()
                waiting.extend(submit(chunk) for chunk in itertools.islice(chunks, 1))
                shared.stats.total_seconds = time.perf_counter() - started
                yield done


_Submit = Callable[[list[T]], "Future[list[Outcome[T]]]"]


@contextmanager
def _one_thread_per_core(shared: _Shared[T], workers: int) -> Iterator[_Submit[T]]:
    def work(chunk: list[T]) -> list[Outcome[T]]:
        started = time.perf_counter()
        try:
            return shared.finish([shared.prepare(item) for item in chunk])
        finally:
            shared.stats.add(busy=time.perf_counter() - started)

    with _pool("nestvec-worker", workers, torch_count=1) as pool, _stopping(shared):
        yield lambda chunk: pool.submit(work, chunk)


@contextmanager
def _decoders_and_encoder(shared: _Shared[T], workers: int, torch_count: int) -> Iterator[_Submit[T]]:
    def work(waiting: list[Future[_Prepared[T]]]) -> list[Outcome[T]]:
        prepared = [future.result() for future in waiting]
        started = time.perf_counter()
        try:
            return shared.finish(prepared)
        finally:
            shared.stats.add(busy=time.perf_counter() - started)

    with (
        _pool("nestvec-encoder", 1, torch_count) as encoder,
        _pool("nestvec-decoder", workers, torch_count=1) as decoders,
        _stopping(shared),
    ):
        yield lambda chunk: encoder.submit(work, [decoders.submit(shared.prepare, item) for item in chunk])


@contextmanager
def _pool(name: str, count: int, torch_count: int) -> Iterator[ThreadPoolExecutor]:
    pool = ThreadPoolExecutor(count, thread_name_prefix=name, initializer=set_torch_threads, initargs=(torch_count,))
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _stopping(shared: _Shared[T]) -> Iterator[None]:
    """On the way out, however that happens, tell the threads to take up nothing more."""
    try:
        yield
    finally:
        shared.stopped.set()


def _chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    iterator = iter(items)
    while chunk := list(itertools.islice(iterator, size)):
        yield chunk
