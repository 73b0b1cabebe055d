"""Heads made with NumPy for the tests, of every shape a trained one can have."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from engine.api import Collection
from engine.encoders.base import Fingerprint
from engine.heads.model import Head, Tower
from indexers.vectors import FloatArray


def normal(*shape: int, seed: int = 0) -> FloatArray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def rotation(encoder: Fingerprint, *, seed: int = 0, dims: tuple[int, ...] = (2, 4)) -> Head:
    """A random orthogonal matrix: changes no score at the full dimension."""
    tower = Tower(np.linalg.qr(normal(encoder.dim, encoder.dim, seed=seed))[0].astype(np.float32))
    return Head("rotation", encoder.dim, encoder.dim, dims, tower, tower, encoder.to_json(), {"seed": seed})


def linear(encoder: Fingerprint, dim: int, *, seed: int = 0, dims: tuple[int, ...] = (2, 4)) -> Head:
    """A random linear map to `dim` dimensions."""
    tower = Tower(normal(dim, encoder.dim, seed=seed))
    return Head("supervised", encoder.dim, dim, dims, tower, tower, encoder.to_json(), {"seed": seed})


def two_towers(encoder: Fingerprint, dim: int, *, seed: int = 0, dims: tuple[int, ...] = (2, 4)) -> Head:
    """A linear map for items, and a network for queries."""
    d = encoder.dim
    items = Tower(normal(dim, d, seed=seed))
    queries = Tower(items.weight, normal(5, d, seed=seed + 1), normal(5), normal(dim, 5, seed=seed + 2), normal(dim))
    return Head("paired", d, dim, dims, items, queries, encoder.to_json(), {"seed": seed})


def fingerprint_of(root: Path, space: str = "main") -> Fingerprint:
    """The fingerprint of a space's vectors."""
    with Collection.open(root) as opened:
        return opened.snapshot.manifest.space(space).fingerprint


def saved(head: Head, path: Path) -> Path:
    """Write a head to a file."""
    head.save(path)
    return path
