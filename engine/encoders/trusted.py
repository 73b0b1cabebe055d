"""Whose word names a file of this machine: the user's, and never a collection's.

A collection says which encoder made its vectors, and where its files are: `clip:ViT-B-32//home/me/tuned.pt`. One that
came from elsewhere may say any path, and to open it must not read what lies there. So a spec with a path counts only
if the user named it, in this call or before; which ones those are is noted under the user's cache folder, where no
collection writes. Names of published weights, and what lies in the package, need no note.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

from engine.encoders.bundled.shipped import is_shipped
from engine.encoders.clip import loading
from engine.encoders.headed import MARK
from engine.encoders.resnet import spec as resnet
from engine.storage.verified import cache_folder
from indexers.errors import EncoderNotNamed


def has_path(spec: str) -> bool:
    """Tell whether a spec names a file of this machine, by the parsers of those who open it.

    Raises:
        InvalidSpec: it does not parse.
    """
    base, mark, head = spec.rpartition(MARK)
    if mark:
        return not is_shipped(head) or has_path(base)
    family, _, rest = spec.partition(":")
    if family == "clip":
        return loading.parse_spec(rest).weights != ""
    return family == "resnet" and resnet.parse_spec(rest, None).weights != ""


def note(spec: str) -> None:
    """Remember that the user named a spec; `spec` is an encoder's own name, whose paths are absolute."""
    if not has_path(spec) or spec in _noted():
        return
    # A read-only home is no reason to fail: the spec must then be named in every call.
    with contextlib.suppress(OSError):
        target = _file()
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("a") as out:
            out.write(json.dumps(spec) + "\n")


def require_named(spec: str) -> None:
    """Refuse a spec of a collection with a path in it that nobody named on this machine.

    Raises:
        EncoderNotNamed: says which, and how to allow it.
        InvalidSpec: it does not parse.
    """
    if has_path(spec) and spec not in _noted():
        raise EncoderNotNamed(
            f"the collection asks for the encoder {spec!r}. It names files of this machine, and nobody has named that "
            "encoder here: a collection from elsewhere may name any file. If it is the right one, say so once, "
            f"wherever its files are: --encoder {spec!r} with search, similar, index or add; from Python "
            "Collection.open(PATH, encoder=SPEC)"
        )


def _file() -> Path:
    return cache_folder() / "encoders.jsonl"


def _noted() -> set[str]:
    found: set[str] = set()
    with contextlib.suppress(OSError, UnicodeDecodeError):
        for line in _file().read_text().splitlines():
            # A line half-written by a killed process is as good as none.
            with contextlib.suppress(ValueError, TypeError):
                found.add(json.loads(line))
    return found
