"""Train a head: one loop for every objective, resumable, and the same bits for the same seed.

Every step's draw comes from a generator seeded with (seed, step), so that a run that goes on from its
checkpoint takes the same steps as one that was never interrupted.
"""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from blake3 import blake3

from engine.heads.model import Head
from engine.heads.training.checkpoint import Checkpoint, load_checkpoint
from engine.heads.training.objective import Defaults, Objective
from engine.heads.training.options import (
    MOST_SEED,
    Examples,
    Settled,
    TrainOptions,
    check_examples,
    check_options,
    split,
)
from indexers.errors import NestvecError
from indexers.threads import available_cores

if TYPE_CHECKING:
    from torch import Tensor

LOOKS = 20
WARM_UP = 0.02
BETAS = (0.9, 0.99)
SECONDS_BETWEEN_CHECKPOINTS = 30.0


@dataclass(frozen=True)
class Progress:
    """What a run says at each look at the validation rows.

    Attributes:
        step: steps done.
        steps: steps at most.
        loss: validation loss.
        best: the lowest so far.
    """

    step: int
    steps: int
    loss: float
    best: float


def train(
    examples: Examples,
    options: TrainOptions,
    *,
    encoder: Mapping[str, Any],
    described: Mapping[str, Any] | None = None,
    checkpoint: Path | None = None,
    progress: Callable[[Progress], None] = lambda _: None,
) -> Head:
    """Train a head on cached embeddings.

    The head is that of the lowest loss on validation rows, a tenth of what is given, drawn by the seed.

    Args:
        examples: what to learn from.
        options: how.
        encoder: `Fingerprint.to_json()` of the encoder that made the vectors: the head is for no other.
        described: what the examples are, for the head's header.
        checkpoint: a file for the state of the run, written about every 30 seconds and when it is interrupted,
            and read when it begins; none if None. It stays until the caller, who has saved the head, deletes it.
        progress: is told how it goes.

    Returns:
        the head. Its `training` holds the options, the validation losses and figures before and after.

    Raises:
        InvalidInput: options or examples that do not fit the objective.
        HeadError: the checkpoint is damaged or belongs to another run.
    """
    check_options(options, examples)
    examples = check_examples(examples, options.objective)
    parts = split(examples, options.seed)
    with _deterministic(options):
        run = _Run(parts, options, _hash(examples, options), checkpoint, progress)
        run.go()
        return run.head(encoder, described or {}, examples.dim)


def _module(objective: str) -> Any:
    from engine.heads.training import adaptor, paired, rotation, supervised

    return {
        "rotation": (rotation.Rotation, rotation.DEFAULTS),
        "supervised": (supervised.Supervised, supervised.DEFAULTS),
        "paired": (paired.Paired, paired.DEFAULTS),
        "adaptor": (adaptor.Adaptor, adaptor.DEFAULTS),
    }[objective]


def _versions(options: TrainOptions) -> dict[str, str]:
    """What the bits depend on beside data and seed."""
    import torch

    return {"torch": torch.__version__, "numpy": np.__version__, "device": options.device, "threads": str(_threads())}


def _threads() -> int:
    return available_cores()


def _hash(examples: Examples, options: TrainOptions) -> str:
    """Hash all that decides the result."""
    hasher = blake3(repr((options, sorted(_versions(options).items()))).encode())
    for part in (examples.x, examples.labels, examples.pairs, examples.queries):
        hasher.update(b"none" if part is None else np.ascontiguousarray(part).view(np.uint8).reshape(-1).data)
    return hasher.hexdigest()


@contextlib.contextmanager
def _deterministic(options: TrainOptions) -> Iterator[None]:
    """Let torch use only algorithms that give the same bits each time, on a fixed number of threads."""
    import torch

    before = torch.are_deterministic_algorithms_enabled(), torch.get_num_threads()
    if options.device == "cuda":
        # cuBLAS reads this when it is first used.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(_threads())
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0])
        torch.set_num_threads(before[1])


@dataclass(frozen=True)
class State:
    """A run between two steps; see `checkpoint.Checkpoint`, which is this on disk."""

    step: int
    best: float
    best_step: int
    losses: tuple[tuple[int, float], ...]
    tensors: dict[str, Tensor]


class _Run:
    """The state of a training run: an objective, its optimizer, and the best parameters so far."""

    def __init__(
        self,
        parts: tuple[Examples, Examples],
        options: TrainOptions,
        run: str,
        checkpoint: Path | None,
        progress: Callable[[Progress], None],
    ) -> None:
        import torch

        make, defaults = _module(options.objective)
        self._options = _settled(options, defaults)
        self._run, self._checkpoint, self._progress = run, checkpoint, progress
        self._rows = len(parts[0]), len(parts[1])
        self.objective: Objective = make(*parts, self._options)
        self._figures = {"before": self.objective.figures()}
        self._steps = self._options.steps
        self._rate = self._options.rate
        self._optimizer = torch.optim.AdamW(
            self.objective.parameters.values(), lr=self._rate, betas=BETAS, weight_decay=defaults.decay
        )
        self._step = 0
        self._losses: list[tuple[int, float]] = [(0, self.objective.validation_loss())]
        self._best_step, self._best = 0, self._losses[0][1]
        self._kept = self._copy()
        self._whole: State | None = None
        self._resume()

    def _copy(self) -> dict[str, Tensor]:
        return {name: part.detach().clone() for name, part in self.objective.parameters.items()}

    # -- the loop ------------------------------------------------------------------------

    def go(self) -> None:
        """Train until the last step, or until validation has not gained for `patience` looks."""
        every = max(1, self._steps // LOOKS)
        saved = time.monotonic()
        try:
            while self._step < self._steps and not self._is_stale(every):
                self._take_step()
                if self._step % every == 0 or self._step == self._steps:
                    self._look()
                # Ctrl-C may come in the middle of a step or a look: what is written is what was whole last.
                self._whole = self._state()
                if time.monotonic() - saved > SECONDS_BETWEEN_CHECKPOINTS:
                    self._save()
                    saved = time.monotonic()
        except KeyboardInterrupt:
            self._save()
            raise
        with self._restored():
            self._figures["after"] = self.objective.figures()

    def _is_stale(self, every: int) -> bool:
        return self._step - self._best_step >= self._options.patience * every

    def _take_step(self) -> None:
        import torch

        done = self._step / self._steps
        rate = self._rate * min(1.0, (done + 1 / self._steps) / WARM_UP) * 0.5 * (1 + math.cos(math.pi * done))
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        generator = torch.Generator().manual_seed((self._options.seed * 1_000_003 + self._step) % MOST_SEED)
        self._optimizer.zero_grad()
        loss = self.objective.loss(generator)
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()
        self._step += 1

    def _look(self) -> None:
        loss = self.objective.validation_loss()
        if not math.isfinite(loss):
            if self._checkpoint is not None:
                self._checkpoint.unlink(missing_ok=True)  # it would refuse the run with a smaller rate
            raise NestvecError(
                f"training diverged at step {self._step}: the validation loss is {loss}; try a smaller --rate"
            )
        self._losses.append((self._step, loss))
        if loss < self._best:
            self._best, self._best_step, self._kept = loss, self._step, self._copy()
        self._progress(Progress(self._step, self._steps, loss, self._best))

    # -- interruption --------------------------------------------------------------------

    def _state(self) -> State | None:
        """Copy all that a checkpoint holds, as it is between two steps."""
        if self._checkpoint is None:
            return None
        named = {f"best.{name}": part for name, part in self._kept.items()}
        for name, part in self.objective.parameters.items():
            moments = self._optimizer.state[part]
            named[f"now.{name}"] = part.detach().clone()
            named[f"first.{name}"] = moments["exp_avg"].clone()
            named[f"second.{name}"] = moments["exp_avg_sq"].clone()
        return State(self._step, self._best, self._best_step, tuple(self._losses), named)

    def _save(self) -> None:
        if self._checkpoint is not None and self._whole is not None:
            one = self._whole
            arrays = {name: part.cpu().numpy() for name, part in one.tensors.items()}
            Checkpoint(self._run, one.step, one.best, one.best_step, one.losses, arrays).save(self._checkpoint)

    def _resume(self) -> None:
        import torch

        shapes = {
            f"{kind}.{name}": tuple(part.shape)
            for name, part in self.objective.parameters.items()
            for kind in ("now", "best", "first", "second")
        }
        state = None if self._checkpoint is None else load_checkpoint(self._checkpoint, self._run, shapes, self._steps)
        if state is None:
            return
        device = self._options.device
        found = {name: torch.from_numpy(np.array(array)).to(device) for name, array in state.arrays.items()}
        for name, part in self.objective.parameters.items():
            part.data.copy_(found[f"now.{name}"])
            self._kept[name] = found[f"best.{name}"]
            self._optimizer.state[part] = {
                "step": torch.tensor(float(state.step)),
                "exp_avg": found[f"first.{name}"],
                "exp_avg_sq": found[f"second.{name}"],
            }
        self._step, self._best, self._best_step = state.step, state.best, state.best_step
        self._losses = list(state.losses)
        self._whole = self._state()

    @contextlib.contextmanager
    def _restored(self) -> Iterator[None]:
        """Put the best parameters in place."""
        now = self._copy()
        for name, part in self.objective.parameters.items():
            part.data.copy_(self._kept[name])
        try:
            yield
        finally:
            for name, part in self.objective.parameters.items():
                part.data.copy_(now[name])

    # -- the result ----------------------------------------------------------------------

    def head(self, encoder: Mapping[str, Any], described: Mapping[str, Any], dim: int) -> Head:
        """Return the best head.

        Args:
            encoder: fingerprint.
            described: what the examples are.
            dim: length of the vectors it takes.
        """
        with self._restored():
            items, queries = self.objective.towers()
        options = {name: value for name, value in asdict(self._options).items() if name not in ("objective", "dims")}
        training = {
            **described,
            "rows": sum(self._rows),
            "validation_rows": self._rows[1],
            "options": options,
            "best_step": self._best_step,
            "validation_loss": {"before": self._losses[0][1], "after": self._best},
            "figures": self._figures,
            "versions": _versions(self._options),
        }
        width = self._options.width or dim
        return Head(self._options.objective, dim, width, self._options.dims, items, queries, dict(encoder), training)


def _settled(options: TrainOptions, defaults: Defaults) -> Settled:
    """Fill in the objective's own numbers."""
    given = {field.name: getattr(options, field.name) for field in fields(options)}
    own = {name: getattr(defaults, name) for name in ("steps", "batch", "rate", "hidden") if given[name] is None}
    return Settled(**{**given, **own})
