"""The state of an interrupted training run, beside the head it will become."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from blake3 import blake3

from engine.heads.files import read_safetensors, replace_file, write_safetensors
from indexers.errors import HeadError
from indexers.vectors import FloatArray

FORMAT = "nestvec-training 1"


@dataclass(frozen=True)
class Checkpoint:
    """Where a run is.

    Attributes:
        run: hash of the options, the examples and the versions: what must be equal to go on.
        step: steps done.
        best: lowest validation loss so far.
        best_step: where it was.
        losses: (step, validation loss) of every look.
        arrays: "now.*" and "best.*" parameters and the optimizer's "first.*" and "second.*" moments.
    """

    run: str
    step: int
    best: float
    best_step: int
    losses: tuple[tuple[int, float], ...]
    arrays: dict[str, FloatArray]

    def save(self, path: Path) -> None:
        """Write to a file in one step, with a hash of all of it."""
        said = {"step": self.step, "best": self.best, "best_step": self.best_step, "losses": self.losses}
        metadata = {"format": FORMAT, "run": self.run, "state": json.dumps(said)}
        metadata["hash"] = _hash(self.arrays, metadata)
        replace_file(path, write_safetensors(self.arrays, metadata))


def _hash(arrays: Mapping[str, FloatArray], metadata: Mapping[str, str]) -> str:
    hasher = blake3(f"{metadata['run']}\0{metadata['state']}".encode())
    for name in sorted(arrays):
        hasher.update(f"{name} {arrays[name].shape}".encode())
        hasher.update(np.ascontiguousarray(arrays[name]).view(np.uint8).reshape(-1).data)
    return hasher.hexdigest()


def load_checkpoint(path: Path, run: str, shapes: Mapping[str, tuple[int, ...]], steps: int) -> Checkpoint | None:
    """Read the checkpoint of a run, or None where there is none.

    Args:
        path: its file.
        run: the hash it must have.
        shapes: of the arrays it must hold.
        steps: of the whole run.

    Raises:
        HeadError: the file is damaged, or belongs to another run.
    """
    if not path.exists():
        return None
    arrays, metadata = read_safetensors(path)
    if metadata.get("format") != FORMAT or metadata.get("run") != run:
        raise HeadError(
            f"{path} belongs to a training run with other data, options or versions. "
            "Repeat that run to finish it, or delete the file"
        )
    try:
        found = _checkpoint(run, arrays, metadata)
        _check(found, shapes, steps)
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise HeadError(f"{path} is damaged ({error!r}); delete it to train from the start") from error
    return found


def _checkpoint(run: str, arrays: dict[str, Any], metadata: Mapping[str, str]) -> Checkpoint:
    if metadata["hash"] != _hash(arrays, metadata):
        raise ValueError("it does not match its own hash")
    said = json.loads(metadata["state"])
    losses = tuple((int(step), float(loss)) for step, loss in said["losses"])
    return Checkpoint(run, int(said["step"]), float(said["best"]), int(said["best_step"]), losses, arrays)


def _check(found: Checkpoint, shapes: Mapping[str, tuple[int, ...]], steps: int) -> None:
    if {name: array.shape for name, array in found.arrays.items()} != dict(shapes):
        raise ValueError("other arrays than this run has")
    if any(array.dtype != np.float32 or not np.isfinite(array).all() for array in found.arrays.values()):
        raise ValueError("arrays that are not finite float32")
    if not 0 < found.step <= steps or not 0 <= found.best_step <= found.step or not math.isfinite(found.best):
        raise ValueError(f"step {found.step} of {steps}")
    if not found.losses or not all(math.isfinite(loss) for _, loss in found.losses):
        raise ValueError("no validation losses")
