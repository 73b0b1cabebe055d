"""The GPU side of FAISS: whether there is one, and moving an index there and back."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import faiss

from indexers.base import FaissIndex
from indexers.errors import DependencyMissing

# Streams and scratch memory are those of the process, and serve one thread at a time.
LOCK = threading.RLock()

# faiss-gpu refuses larger values of k and of nprobe.
MOST_K = 2048


def gpu_count() -> int:
    """Return how many devices FAISS sees; 0 with faiss-cpu or without a driver."""
    return int(faiss.get_num_gpus()) if hasattr(faiss, "get_num_gpus") else 0


@cache
def shared_resources() -> Any:
    """Return the one set of GPU streams and scratch memory of this process.

    Raises:
        DependencyMissing: there is no GPU.
    """
    if not gpu_count():
        raise DependencyMissing(
            "no GPU that FAISS can use: install faiss-gpu in place of faiss-cpu (never both), "
            "and check the driver with `nestvec doctor`"
        )
    resources = faiss.StandardGpuResources()
    # The stream torch uses too: what one writes the other then reads in order.
    resources.setDefaultNullStreamAllDevices()
    return resources


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether FAISS failed because a device's memory was full: it has no class of its own for that."""
    return "out of memory" in str(error).lower()


def to_gpu(index: FaissIndex, device: int = 0, *, half: bool = False) -> FaissIndex:
    """Copy an index to a device.

    Args:
        index: of a family that is `on_device`, without transforms.
        device: its number.
        half: hold and compare a flat index in float16: half the bytes, and scores to three digits.

    Raises:
        DependencyMissing: there is no GPU.
    """
    resources = shared_resources()
    options = faiss.GpuClonerOptions()
    options.useFloat16 = half
    with LOCK:
        return faiss.index_cpu_to_gpu(resources, device, index, options)


def to_cpu(index: FaissIndex) -> FaissIndex:
    """Copy an index back to host memory, to be saved or searched there."""
    return faiss.index_gpu_to_cpu(index)


@contextmanager
def clustering(index: FaissIndex) -> Iterator[None]:
    """Run the k-means of an IVF index on the GPU while in this block; everything else stays on the CPU."""
    ivf = faiss.try_extract_index_ivf(index)
    if ivf is None:
        yield
        return
    # FAISS keeps a bare pointer, and `ivf` is one of many passing Python names of the same index: only
    # this frame keeps the helper alive, and so the pointer must not outlive it.
    helper = to_gpu(faiss.IndexFlatIP(ivf.d))
    ivf.clustering_index = helper
    try:
        with LOCK:
            yield
    finally:
        ivf.clustering_index = None
