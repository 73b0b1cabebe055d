"""Train a head on a collection or on files of vectors, and write it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from engine.encoders.device import choose_device
from engine.heads.model import Head
from engine.heads.training.options import TrainOptions, check_numbers
from engine.heads.training.train import LOOKS, Progress, train
from engine.jobs.examples import ExampleOptions, Gathered, gather
from engine.progress import Listener, as_listener
from indexers import checks
from indexers.errors import HeadError

PARTIAL = ".partial"


def train_head(
    sources: str | Path | Sequence[str | Path],
    options: TrainOptions,
    examples: ExampleOptions | None = None,
    *,
    output: str | Path | None = None,
    overwrite: bool = False,
    listener: Listener | None = None,
) -> Head:
    """Train a head on cached vectors; no picture is encoded.

    Example:
        >>> options = engine.TrainOptions("rotation", dims=(4, 8, 16), steps=20)
        >>> head = engine.train_head("vectors.nest", options, output="turned.safetensors")
        >>> engine.load_head("turned.safetensors").dims
        (4, 8, 16)

    Args:
        sources: one collection, or files of vectors (.npy, Parquet).
        options: objective, dims, seed; `device` may be "auto" here.
        examples: labels, pairs, queries.
        output: where to write it; interrupted, the state lies beside it as `OUTPUT.partial`, and the same
            call goes on from there.
        overwrite: whether a head that is there already may be replaced.
        listener: hears about progress.

    Returns:
        the head.

    Raises:
        InvalidInput: options or examples that do not fit the objective.
        SourceError: something cannot be read.
        HeadError: `output` exists or cannot be written.
    """
    heard, paths = as_listener(listener), checks.paths("sources", sources)
    examples = ExampleOptions() if examples is None else checks.instance("examples", examples, ExampleOptions)
    target, overwrite = checks.optional("output", output, checks.path), checks.truth("overwrite", overwrite)
    check_numbers(checks.instance("options", options, TrainOptions))
    if target is not None:
        _check_output(target, overwrite)
    options = replace(options, device=choose_device(options.device))
    gathered = gather(paths, options.objective, replace(examples, device=options.device), options.seed)
    heard.say(f"{len(gathered.examples)} rows of {gathered.fingerprint.model}, on {options.device}")
    partial = None if target is None else target.with_name(target.name + PARTIAL)
    head = _train(gathered, options, partial, heard)
    if head.training["best_step"] == 0:
        heard.say("no step did better on the validation rows than the start: the head is the principal axes alone")
    if target is not None and partial is not None:
        head.save(target)
        partial.unlink(missing_ok=True)
    return head


def _train(gathered: Gathered, options: TrainOptions, checkpoint: Path | None, heard: Listener) -> Head:
    with heard.progress("training", LOOKS) as advance:

        def looked(progress: Progress) -> None:
            advance(1)
            heard.say(f"step {progress.step} of {progress.steps}: validation loss {progress.loss:.4f}")

        return train(
            gathered.examples,
            options,
            encoder=gathered.fingerprint.to_json(),
            described=gathered.described,
            checkpoint=checkpoint,
            progress=looked,
        )


def _check_output(output: Path, overwrite: bool) -> None:
    """Find out before an hour of training whether its result can be written."""
    if output.suffix != ".safetensors":
        raise HeadError(f"{output}: a head is a .safetensors file; choose such a name")
    if output.is_dir() or (output.exists() and not overwrite):
        raise HeadError(f"{output} exists already; choose another name, or replace it with --overwrite")
    if not output.absolute().parent.is_dir() or not os.access(output.absolute().parent, os.W_OK):
        raise HeadError(f"{output.absolute().parent} is no folder that can be written to")
