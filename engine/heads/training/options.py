"""What a training run is told, and what it is given."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from engine.heads.model import OBJECTIVES, Side
from indexers import checks
from indexers.errors import InvalidInput
from indexers.names import did_you_mean
from indexers.vectors import FloatArray, as_matrix, normalize

Device = Literal["cpu", "cuda", "mps"]

# The fewest rows worth splitting into training and validation.
FEWEST_ROWS = 20
FEWEST_OF_A_CLASS = 2
MOST_VALIDATION_ROWS = 4096
# What torch takes as a seed.
MOST_SEED = 1 << 63
ANY_SEED = 1 << 256
LABELLED = "supervised"
PAIRED = "paired"


@dataclass(frozen=True)
class Examples:
    """Cached embeddings to train on.

    Attributes:
        x: unit float32 [n, D], the items' vectors.
        labels: int64 [n], class numbers from 0; for `supervised`.
        pairs: unit float32 [n, D], another view of each item, row for row; for `paired`.
        queries: unit float32 [m, D], a sample of what is searched for; `rotation` can serve it too.
    """

    x: FloatArray
    labels: NDArray[np.int64] | None = None
    pairs: FloatArray | None = None
    queries: FloatArray | None = None

    def __len__(self) -> int:
        return len(self.x)

    @property
    def dim(self) -> int:
        """Length D of a vector."""
        return int(self.x.shape[1])

    def rows(self, chosen: NDArray[np.int64]) -> Examples:
        """Return some of the rows; `queries` stay as they are."""
        return Examples(
            np.ascontiguousarray(self.x[chosen]),
            None if self.labels is None else self.labels[chosen],
            None if self.pairs is None else np.ascontiguousarray(self.pairs[chosen]),
            self.queries,
        )


def _reals(name: str, value: Any) -> tuple[float, ...]:
    return tuple(checks.several(name, value, checks.real))


@dataclass(frozen=True)
class TrainOptions:
    """How a head is trained.

    Example:
        >>> options = engine.TrainOptions("rotation", dims=(4, 16), steps=20, seed=7)
        >>> engine.train_head("vectors.nest", options).dims
        (4, 16)

    Attributes:
        objective: "rotation", "supervised", "paired" or "adaptor".
        dims: prefix dimensions, ascending; the output width may be among them.
        seed: decides every draw.
        steps: at most so many; early stopping may end it sooner. The objective's own number if None.
        batch: rows a step; the objective's own number if None.
        rate: highest learning rate; the objective's own if None.
        weights: relative weight of each dim in the loss; equal if None.
        width: dimensions the head gives; as many as it takes if None. Not for a rotation.
        hidden: neurons of a hidden layer beside the linear map; 0 for none, the objective's own number if None.
        shared_classifier: one classifier for all dims (MRL-E) and not one each; for `supervised`.
        fixed: the tower that stays as it is, "items" or "queries"; for `paired`.
        shared_tower: one tower for both sides; for `paired`.
        patience: looks at the validation rows without a gain before it stops; there are 20 in a full run.
        device: "cpu", "cuda" or "mps".
    """

    objective: str
    dims: tuple[int, ...]
    seed: int = 0
    steps: int | None = None
    batch: int | None = None
    rate: float | None = None
    weights: tuple[float, ...] | None = None
    width: int | None = None
    hidden: int | None = None
    shared_classifier: bool = False
    fixed: Side | None = None
    shared_tower: bool = False
    patience: int = 10
    device: Device = "cpu"

    def __post_init__(self) -> None:
        numbers = ("steps", "batch", "width", "hidden")
        checks.settle(
            self,
            **{name: checks.optional(name, getattr(self, name), checks.signed) for name in numbers},
            **{name: checks.truth(name, getattr(self, name)) for name in ("shared_classifier", "shared_tower")},
            objective=checks.text("objective", self.objective),
            dims=tuple(checks.several("dims", self.dims, checks.signed)),
            seed=checks.whole("seed", self.seed, -ANY_SEED, ANY_SEED),
            rate=checks.optional("rate", self.rate, checks.real),
            weights=checks.optional("weights", self.weights, _reals),
            fixed=checks.optional("fixed", self.fixed, partial(checks.one_of, known=("items", "queries"))),
            patience=checks.signed("patience", self.patience),
            device=checks.one_of("device", self.device, checks.DEVICES),
        )


@dataclass(frozen=True)
class Settled(TrainOptions):
    """Options in which the objective's own numbers stand where none were given: what the header of a head tells."""

    steps: int = 0
    batch: int = 0
    rate: float = 0.0
    hidden: int = 0


def check_options(options: TrainOptions, examples: Examples) -> None:
    """Refuse options that cannot be carried out on these examples, before anything is computed.

    Raises:
        InvalidInput: an unknown objective, dims that are not ascending or exceed the width, or an
            option that the objective does not have.
    """
    check_numbers(options)
    width, dims = options.width or examples.dim, options.dims
    if dims[-1] > width:
        raise InvalidInput(f"dims {_list(dims)}: the head gives {width} dimensions, so no prefix can have {dims[-1]}")
    _check_meant(options, examples.dim)


def check_numbers(options: TrainOptions) -> None:
    """Refuse options that fit no examples at all.

    Raises:
        InvalidInput: as `check_options`.
    """
    if options.objective not in OBJECTIVES:
        raise InvalidInput(
            f"objective {options.objective!r}: expected one of {', '.join(OBJECTIVES)}"
            f"{did_you_mean(options.objective, OBJECTIVES)}"
        )
    dims = options.dims
    if not dims or list(dims) != sorted(set(dims)) or dims[0] < 1:
        raise InvalidInput(f"dims {_list(dims)}: expected ascending prefix dimensions, such as 16,32,64,128")
    weights = options.weights
    if weights is not None and (len(weights) != len(dims) or not all(0 < weight < float("inf") for weight in weights)):
        raise InvalidInput(f"weights: expected {len(dims)} numbers above 0, one for each of dims {_list(dims)}")
    if options.seed < 0:
        raise InvalidInput(f"seed: expected 0 or more, found {options.seed}")
    numbers = {"steps": options.steps, "batch": options.batch, "rate": options.rate, "width": options.width}
    for name, value in {**numbers, "patience": options.patience}.items():
        if value is not None and not 0 < value < float("inf"):
            raise InvalidInput(f"{name}: expected a number above 0, found {value}")
    if options.hidden is not None and options.hidden < 0:
        raise InvalidInput(f"hidden: expected 0 or more neurons, found {options.hidden}")


def _check_meant(options: TrainOptions, dim: int) -> None:
    """An option that would do nothing is a misunderstanding."""
    rotation = options.objective == "rotation"
    refused = {
        "width": rotation and options.width not in (None, dim),
        "hidden": rotation and bool(options.hidden),
        "shared_classifier": options.shared_classifier and options.objective != LABELLED,
        "fixed": options.fixed is not None and options.objective != PAIRED,
        "shared_tower": options.shared_tower and options.objective != PAIRED,
    }
    for name, wrong in refused.items():
        if wrong:
            raise InvalidInput(f"{name} was given, and objective {options.objective} has no such choice")
    if rotation and options.dims[0] >= dim:
        raise InvalidInput(f"a rotation leaves the full {dim} dimensions as they are: name shorter prefixes in dims")
    if options.objective == "adaptor" and options.hidden == 0:
        raise InvalidInput("an adaptor is its hidden layer, and hidden=0 was given; see objective rotation")
    if options.fixed is not None and options.shared_tower:
        raise InvalidInput("a tower cannot be fixed and shared at once")
    if options.fixed is not None and options.width not in (None, dim):
        raise InvalidInput(f"with a fixed tower the head gives the {dim} dimensions it takes, not {options.width}")


def _list(dims: tuple[int, ...]) -> str:
    return ",".join(map(str, dims))


def check_examples(examples: Examples, objective: str) -> Examples:
    """Return examples as unit float32, refusing what an objective cannot learn from.

    Raises:
        InvalidVectors: NaN, infinite or zero rows, or another dimension than the items'.
        InvalidInput: too few rows, labels or pairs that are missing or do not fit, one class only.
    """
    x = normalize(as_matrix(examples.x, name="training vectors"), name="training vectors")
    n, dim = x.shape
    if n < FEWEST_ROWS:
        raise InvalidInput(f"expected at least {FEWEST_ROWS} rows to train on, found {n}")
    labels = None
    if objective == LABELLED:
        if examples.labels is None:
            raise InvalidInput("objective supervised needs a label for each row (--labels COLUMN), found none")
        labels = _check_labels(np.asarray(examples.labels), n)
    pairs = queries = None
    if objective == PAIRED:
        if examples.pairs is None:
            raise InvalidInput("objective paired needs a second vector for each row: captions, or --pairs FILE")
        pairs = _unit(examples.pairs, "pairs", dim)
        if len(pairs) != n:
            raise InvalidInput(f"pairs: expected a row for each of the {n} items, found {len(pairs)}")
    if objective == "rotation" and examples.queries is not None:
        queries = _unit(examples.queries, "queries", dim)
        if len(queries) < FEWEST_ROWS:
            raise InvalidInput(f"expected at least {FEWEST_ROWS} queries to serve, found {len(queries)}")
    elif examples.queries is not None:
        raise InvalidInput(f"queries were given, and objective {objective} learns from items alone")
    return Examples(x, labels, pairs, queries)


def _unit(x: Any, name: str, dim: int) -> FloatArray:
    return normalize(as_matrix(x, name=name, dim=dim), name=name)


def _check_labels(labels: NDArray[Any], n: int) -> NDArray[np.int64]:
    if labels.shape != (n,) or labels.dtype.kind not in "iu":
        raise InvalidInput(f"labels: expected {n} class numbers, found {labels.dtype} {list(labels.shape)}")
    _, found, counts = np.unique(labels, return_inverse=True, return_counts=True)
    if len(counts) < 2:
        raise InvalidInput(f"labels: all {n} rows are of one class: there is nothing to tell apart")
    if (counts >= FEWEST_OF_A_CLASS).sum() < 2:
        raise InvalidInput(
            f"labels: {len(counts)} classes for {n} rows, nearly all of one row: are these names or ids?"
        )
    return found.astype(np.int64)


def split(examples: Examples, seed: int) -> tuple[Examples, Examples]:
    """Split rows, and queries apart from them, into training and validation: a tenth, at most 4,096."""
    train_rows, held_rows = _split(len(examples), np.random.default_rng([seed, 1]))
    train, held = examples.rows(train_rows), examples.rows(held_rows)
    if examples.queries is None:
        return train, held
    train_queries, held_queries = _split(len(examples.queries), np.random.default_rng([seed, 2]))
    queries = examples.queries
    return (
        Examples(train.x, train.labels, train.pairs, queries[train_queries]),
        Examples(held.x, held.labels, held.pairs, queries[held_queries]),
    )


def _split(n: int, rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    order = rng.permutation(n)
    held = min(max(1, n // 10), MOST_VALIDATION_ROWS)
    return np.sort(order[held:]), np.sort(order[:held])
