"""The GPU side of FAISS: whether there is one, and moving an index there and back."""

from __future__ import annotations

from functools import cache
from typing import Any

import faiss

from indexers.base import FaissIndex
from indexers.errors import DependencyMissing

# faiss-gpu refuses larger values of k and of nprobe.
MOST_K = 2048

# Families whose FAISS class exists on a GPU as it is. Fast-scan codes and graphs do not;
# for them only the k-means of the cells runs on the device.
ON_DEVICE = ("flat", "ivf-flat")


def gpu_count() -> int:
    """Return how many devices FAISS sees; 0 with faiss-cpu or without a driver."""
    return int(faiss.get_num_gpus()) if hasattr(faiss, "get_num_gpus") else 0


@cache
def _resources() -> Any:
    """Make the one set of GPU streams and scratch memory of this process."""
    if not gpu_count():
        raise DependencyMissing(
            "no GPU that FAISS can use: install faiss-gpu in place of faiss-cpu (never both), "
            "and check the driver with `nestvec doctor`"
        )
    return faiss.StandardGpuResources()


def to_gpu(index: FaissIndex, device: int = 0) -> FaissIndex:
    """Copy an index to a device.

    Raises:
        DependencyMissing: there is no GPU.
    """
    return faiss.index_cpu_to_gpu(_resources(), device, index)


def to_cpu(index: FaissIndex) -> FaissIndex:
    """Copy an index back to host memory, to be saved or searched there."""
    return faiss.index_gpu_to_cpu(index)


def use_for_clustering(index: FaissIndex) -> None:
    """Let the k-means of an IVF index run on the GPU while everything else stays on the CPU."""
    ivf = faiss.try_extract_index_ivf(index)
    if ivf is not None:
        flat = to_gpu(faiss.IndexFlatIP(ivf.d))
        ivf.clustering_index = flat
        # FAISS keeps a bare pointer: the Python object must live as long as the index.
        ivf.referenced_objects = [*getattr(ivf, "referenced_objects", []), flat]
