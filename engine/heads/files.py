"""Safetensors files, read as if anybody had written them and written in one step."""

from __future__ import annotations

import contextlib
import json
import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.storage.regular import read_regular
from indexers.errors import HeadError
from indexers.vectors import FloatArray

MOST_BYTES = 1 << 30


def replace_file(path: Path, data: bytes) -> None:
    """Write a file so that there is the old one or the new one at any instant.

    Raises:
        HeadError: it cannot be written.
    """
    temporary = path.with_name(f".tmp-{os.getpid()}-{path.name}")
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise HeadError(f"{path} cannot be written: {error.strerror}") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_safetensors(arrays: Mapping[str, FloatArray], metadata: Mapping[str, str]) -> bytes:
    """Write safetensors with the metadata in the order given: the library's own order changes from call to call."""
    from safetensors.numpy import save

    data = save(dict(arrays))
    header, tensors = _split(data)
    text = json.dumps({"__metadata__": dict(metadata), **header}, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + tensors


def _split(data: bytes) -> tuple[dict[str, Any], bytes]:
    """Return a safetensors file's header, and what follows it."""
    (length,) = struct.unpack("<Q", data[:8])
    return dict(json.loads(data[8 : 8 + length])), data[8 + length :]


def read_safetensors(path: str | Path, *, own: bool = False) -> tuple[dict[str, Any], dict[str, str]]:
    """Read the arrays and the metadata of a safetensors file.

    Args:
        path: the file.
        own: whether it is a collection's, and so no link.

    Raises:
        HeadError: it cannot be read, is damaged or too large.
    """
    try:
        data = read_regular(path, most=MOST_BYTES, own=own)
    except OSError as error:
        raise HeadError(f"head {path} cannot be read: {error.strerror}") from error
    return parse_safetensors(data, name=str(path))


def parse_safetensors(data: bytes, *, name: str) -> tuple[dict[str, Any], dict[str, str]]:
    """Do as `read_safetensors` with bytes; `name` is what an error calls them."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    if len(data) > MOST_BYTES:
        raise HeadError(f"head {name} is larger than {MOST_BYTES >> 20} MB: it is no head")
    try:
        return load(data), _metadata(data)
    except (SafetensorError, ValueError, TypeError, struct.error, RecursionError, KeyError) as error:
        raise HeadError(f"head {name} is damaged or no safetensors file ({error}); train or copy it again") from error


def _metadata(data: bytes) -> dict[str, str]:
    """Return the strings of the header; null and a missing key are none."""
    found = _split(data)[0].get("__metadata__") or {}
    return {str(key): str(value) for key, value in dict(found).items()}
