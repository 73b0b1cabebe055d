"""The state of an interrupted training run, beside the head it will become."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

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
        """Write to a file in one step."""
        said = {"step": self.step, "best": self.best, "best_step": self.best_step, "losses": self.losses}
        replace_file(
            path, write_safetensors(self.arrays, {"format": FORMAT, "run": self.run, "state": json.dumps(said)})
        )


def load_checkpoint(path: Path, run: str) -> Checkpoint | None:
    """Read the checkpoint of a run, or None where there is none.

    Args:
        path: its file.
        run: the hash it must have.

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
        said = json.loads(metadata["state"])
        losses = tuple((int(step), float(loss)) for step, loss in said["losses"])
        return Checkpoint(run, int(said["step"]), float(said["best"]), int(said["best_step"]), losses, arrays)
    except (KeyError, TypeError, ValueError) as error:
        raise HeadError(f"{path} is damaged ({error!r}); delete it to train from the start") from error
