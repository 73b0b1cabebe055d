"""What a head is, how it is applied, and how it is stored.

A head takes the vectors of one frozen encoder and gives vectors that *nest*: their first d numbers,
renormalised, are a good vector too (Matryoshka Representation Learning, Kusupati et al., 2022,
arXiv:2205.13147). Heads are applied with NumPy; torch is needed only to train them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from blake3 import blake3

from engine.heads.files import parse_safetensors, read_safetensors, replace_file, write_safetensors
from indexers import checks
from indexers.errors import HeadError, InvalidInput
from indexers.vectors import FloatArray, as_matrix, normalize

Side = Literal["items", "queries"]
"""Which tower a vector goes through: pictures and stored vectors are items, texts are queries."""

OBJECTIVES = ("rotation", "supervised", "paired", "adaptor")
FORMAT = "nestvec-head 1"
# Rows mapped at once: bounds the memory of the hidden layer.
BLOCK = 8192
NOT_ORTHOGONAL = 1e-4


@dataclass(frozen=True)
class Tower:
    """One map: x·weightᵀ + gelu(x·upᵀ + up_bias)·downᵀ + bias; a part that is None is left out.

    With nothing at all it is the identity, with `weight` alone a linear map, without `weight` a network
    with one hidden layer, and with everything that network beside a linear skip connection.

    Example:
        >>> tower = engine.Tower(weight=np.float32([[0, 1], [1, 0]]))
        >>> tower(np.float32([[0.8, 0.6]]))
        array([[0.6, 0.8]], dtype=float32)

    Attributes:
        weight: float32 [D_out, D_in], or None.
        up: float32 [hidden, D_in], or None.
        up_bias: float32 [hidden], beside `up`.
        down: float32 [D_out, hidden], beside `up`.
        bias: float32 [D_out], or None.
    """

    weight: FloatArray | None = None
    up: FloatArray | None = None
    up_bias: FloatArray | None = None
    down: FloatArray | None = None
    bias: FloatArray | None = None

    @property
    def arrays(self) -> dict[str, FloatArray]:
        """The parts that are there, by name."""
        parts = {"weight": self.weight, "up": self.up, "up_bias": self.up_bias, "down": self.down, "bias": self.bias}
        return {name: array for name, array in parts.items() if array is not None}

    def __call__(self, x: FloatArray) -> FloatArray:
        """Map float32 [n, D_in] to unit float32 [n, D_out]."""
        blocks = [self._map(x[first : first + BLOCK]) for first in range(0, len(x), BLOCK)]
        return normalize(np.concatenate(blocks), name="vectors after the head") if blocks else self._map(x)

    def _map(self, x: FloatArray) -> FloatArray:
        out = x if self.weight is None and self.up is None else np.float32(0)
        if self.weight is not None:
            out = x @ self.weight.T
        if self.up is not None and self.up_bias is not None and self.down is not None:
            out = out + gelu(x @ self.up.T + self.up_bias) @ self.down.T
        mapped: FloatArray = np.asarray(out if self.bias is None else out + self.bias, dtype=np.float32)
        return mapped


def gelu(x: FloatArray) -> FloatArray:
    """The tanh form of the Gaussian error linear unit (Hendrycks and Gimpel, 2016, arXiv:1606.08415)."""
    inner = np.float32(np.sqrt(2 / np.pi)) * (x + np.float32(0.044715) * x * x * x)
    result: FloatArray = np.float32(0.5) * x * (1 + np.tanh(inner))
    return result


@dataclass(frozen=True)
class Head:
    """A trained head.

    Example:
        >>> head = engine.load_head("nested.safetensors")
        >>> head.objective, head.dim_in, head.dims
        ('paired', 384, (16, 32, 64, 96, 128, 256, 384))
        >>> head(np.ones(384)).shape
        (1, 384)

    Attributes:
        objective: one of OBJECTIVES.
        dim_in: length of the vectors it takes.
        dim: length of the vectors it gives.
        dims: prefix dimensions it was trained for, ascending, none above `dim`.
        items: the tower of pictures and stored vectors.
        queries: the tower of texts; the same as `items` unless the objective trains two.
        encoder: fingerprint of the encoder it belongs to, as JSON values.
        training: how it was made: seed, rows, what it was trained on, options, figures; JSON values.
    """

    objective: str
    dim_in: int
    dim: int
    dims: tuple[int, ...]
    items: Tower
    queries: Tower
    encoder: Mapping[str, Any]
    training: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, x: Any, side: Side = "items") -> FloatArray:
        """Map vectors of the encoder to nested ones.

        Args:
            x: real [n, D_in], or [D_in] for one; normalised here.
            side: the tower they go through.

        Returns:
            unit float32 [n, D].

        Raises:
            InvalidVectors: another dimension, NaN or infinite values, a zero row.
        """
        if side not in ("items", "queries"):
            raise InvalidInput(f"a head has the sides items and queries, found {side!r}")
        matrix = as_matrix(x, name="vectors before the head", dim=self.dim_in)
        tower = self.items if side == "items" else self.queries
        return tower(normalize(matrix, name="vectors before the head"))

    @property
    def is_rotation(self) -> bool:
        """Whether scores at the full dimension are those of the vectors it was given."""
        return self.objective == "rotation"

    @cached_property
    def digest(self) -> str:
        """The hash of everything that decides what it gives, "blake3:" and 64 hex digits."""
        shape = f"{self.dim_in} {self.dim} {self.dims}"
        return f"blake3:{blake3(write_safetensors(_arrays(self), {'shape': shape})).hexdigest()}"

    def to_bytes(self) -> bytes:
        """Write as safetensors, whose header says in plain JSON what the head is."""
        metadata = {
            "format": FORMAT,
            "objective": self.objective,
            "dim_in": str(self.dim_in),
            "dim": str(self.dim),
            "dims": ",".join(map(str, self.dims)),
            "encoder": _plain(self.encoder),
            "training": _plain(self.training),
        }
        return write_safetensors(_arrays(self), metadata)

    def save(self, path: str | Path) -> None:
        """Write to a file; a file of that name is replaced in one step, or not at all."""
        replace_file(Path(path), self.to_bytes())


def _plain(values: Mapping[str, Any]) -> str:
    return json.dumps(values, sort_keys=True, ensure_ascii=True, allow_nan=False)


def _arrays(head: Head) -> dict[str, FloatArray]:
    towers = {"items": head.items} if head.queries is head.items else {"items": head.items, "queries": head.queries}
    named = {f"{side}.{name}": array for side, tower in towers.items() for name, array in tower.arrays.items()}
    if len(towers) > 1:  # an identity has no arrays: the mark tells it from a tower that is shared
        named["separate"] = np.ones(1, np.float32)
    return {name: np.ascontiguousarray(array, dtype=np.float32) for name, array in named.items()}


def load_head(path: str | Path) -> Head:
    """Read a head from a file.

    Example:
        >>> engine.load_head("nested.safetensors").encoder["model"]
        'bundled:efficientnet-lite0+minilm-l6-v2'

    Raises:
        HeadError: it cannot be read, is cut short, or is no head.
    """
    return head_from_file(checks.path("path", path))


def head_from_file(path: Path, *, own: bool = False) -> Head:
    """Do as `load_head`; `own` says whether the file is a collection's."""
    return _checked(*read_safetensors(path, own=own), name=str(path))


def head_from_bytes(data: bytes, *, name: str) -> Head:
    """Read what `Head.to_bytes` wrote, checking all of it: the bytes may be anybody's.

    Args:
        data: the file.
        name: what to call it in an error.

    Raises:
        HeadError: cut short, no head, or a head whose parts do not fit together.
    """
    return _checked(*parse_safetensors(data, name=name), name=name)


def _checked(arrays: dict[str, Any], metadata: Mapping[str, str], *, name: str) -> Head:
    if metadata.get("format") != FORMAT:
        raise HeadError(f"{name}: expected {FORMAT!r}, found {metadata.get('format', 'another safetensors file')!r}")
    try:
        head = _head(arrays, metadata)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise HeadError(f"head {name} has a damaged header: {error!r}; train or copy it again") from error
    _check(head, name)
    return head


def _head(arrays: dict[str, Any], metadata: Mapping[str, str]) -> Head:
    separate = arrays.pop("separate", None) is not None
    towers: dict[str, dict[str, FloatArray]] = {"items": {}, "queries": {}}
    for key, array in arrays.items():
        side, _, part = key.partition(".")
        towers[side][part] = array
    if towers["queries"] and not separate:
        raise ValueError("a tower for queries that is not declared")
    items = Tower(**towers["items"])
    return Head(
        objective=metadata["objective"],
        dim_in=int(metadata["dim_in"]),
        dim=int(metadata["dim"]),
        dims=tuple(int(d) for d in metadata["dims"].split(",")),
        items=items,
        queries=Tower(**towers["queries"]) if separate else items,
        encoder=dict(json.loads(metadata["encoder"])),
        training=dict(json.loads(metadata["training"])),
    )


def _check(head: Head, name: str) -> None:
    if head.objective not in OBJECTIVES:
        raise HeadError(f"head {name} is of the unknown objective {head.objective!r}: upgrade nestvec")
    if list(head.dims) != sorted(set(head.dims)) or not 1 <= head.dims[0] <= head.dims[-1] <= head.dim:
        raise HeadError(f"head {name} declares the prefixes {head.dims} of {head.dim} dimensions")
    for side, tower in (("items", head.items), ("queries", head.queries)):
        _check_tower(tower, head, f"head {name}: {side}")
    weight = head.items.weight
    if head.is_rotation:
        square = weight is not None and head.items.arrays.keys() == {"weight"} and head.queries is head.items
        if weight is None or not square or head.dim != head.dim_in:
            raise HeadError(f"head {name} says it is a rotation, and is none")
        if np.abs(weight @ weight.T - np.eye(head.dim, dtype=np.float32)).max() > NOT_ORTHOGONAL:
            raise HeadError(f"head {name} says it is a rotation, and its matrix is not orthogonal")


def _check_tower(tower: Tower, head: Head, name: str) -> None:
    hidden = 0 if tower.up is None or tower.up.ndim != 2 else tower.up.shape[0]
    shapes = {
        "weight": (head.dim, head.dim_in),
        "up": (hidden, head.dim_in),
        "up_bias": (hidden,),
        "down": (head.dim, hidden),
        "bias": (head.dim,),
    }
    if len({tower.up is None, tower.up_bias is None, tower.down is None}) > 1:
        raise HeadError(f"{name} has half of a hidden layer")
    if not tower.arrays and head.dim != head.dim_in:
        raise HeadError(f"{name} is missing: it would have to map {head.dim_in} dimensions to {head.dim}")
    for part, array in tower.arrays.items():
        if array.shape != shapes[part] or array.dtype != np.float32:
            raise HeadError(f"{name}.{part}: expected float32 {shapes[part]}, found {array.dtype} {array.shape}")
        if not np.isfinite(array).all():
            raise HeadError(f"{name}.{part} has NaN or infinite values")
