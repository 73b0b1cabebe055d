"""Heads that come with the package: `nested` is one for the bundled encoder (docs/bundled.md).

Wherever a head's file is taken, the name of a shipped head may stand instead: `bundled+head:nested`,
`nestvec apply-head photos.nest nested`. A file of that very name is reached by its absolute path.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

from engine.encoders.weights import local_file
from engine.heads.model import Head, head_from_bytes, load_head
from indexers.errors import HeadError


@dataclass(frozen=True)
class ShippedHead:
    """A head in the package, known by its hash.

    Attributes:
        file: its name in engine/encoders/assets.
        sha256: 64 hex digits.
        encoder: spec of the encoder it belongs to.
    """

    file: str
    sha256: str
    encoder: str

    def read(self) -> bytes:
        """Return the file's bytes.

        Raises:
            HeadError: the file is not in the installed package, or has another hash.
        """
        path = f"engine/encoders/assets/{self.file}"
        try:
            data = (files("engine.encoders") / "assets" / self.file).read_bytes()
        except OSError as error:
            raise HeadError(
                f"expected {path} in the installed package, found none: {error}. "
                "Install nestvec again, or make the file with python -m scripts.bundled.nested."
            ) from error
        found = hashlib.sha256(data).hexdigest()
        if found != self.sha256:
            raise HeadError(f"{path}: expected SHA-256 {self.sha256}, found {found}. Install nestvec again.")
        return data


SHIPPED = {
    "nested": ShippedHead(
        "bundled_nested.safetensors", "1bf6dc32492234c7ac444864d27d9b49efd60f7ad6ae4d3da6762d15adc7e077", "bundled"
    ),
}


def is_shipped(head: str | Path) -> bool:
    """Tell the name of a shipped head from a file's."""
    return str(head) in SHIPPED


def open_head(head: str | Path, *, what: str | None = None) -> Head:
    """Read a head from a file, or the shipped one of that name.

    Args:
        head: a path, or a key of SHIPPED.
        what: what named it, for errors where there is no such file; if None the file's own error is raised.

    Raises:
        HeadError: it cannot be read, is cut short, is no head, or a shipped one was changed.
        WeightsMissing: there is no such file, and `what` was given.
    """
    if is_shipped(head):
        return _shipped(str(head))
    return load_head(head if what is None else local_file(str(head), what=what))


@cache
def _shipped(name: str) -> Head:
    return head_from_bytes(SHIPPED[name].read(), name=name)
