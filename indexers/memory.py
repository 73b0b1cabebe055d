"""What memory there is, and what a build takes at its peak: what cannot fit is refused before it begins.

Stored vectors and finished indexes are mapped, and count for nothing: the system drops them when it must. What counts
is what a build holds: a training sample, a block of rows, and the index that grows.

`NESTVEC_MEMORY` says how much the process may hold in all; without it what the machine has left, and what its
control groups and resource limits allow.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from indexers import checks
from indexers.base import AXES, IndexSpec
from indexers.build import training_rows
from indexers.errors import InvalidInput, InvalidSpec, NotEnoughMemory
from indexers.families.registry import FAMILIES, family, resolve
from indexers.store import BLOCK_ROWS

VARIABLE = "NESTVEC_MEMORY"
SIZE = re.compile(r"(?P<number>[0-9]{1,12}(?:\.[0-9]{1,3})?)\s*(?P<unit>[kKMGT]?)(?P<binary>i?)B?")
POWERS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}

# What FAISS, BLAS and the allocator take whatever the size; measured, and rounded up.
FIXED = 48 << 20
# Row numbers are drawn from all rows to choose a sample.
DRAWN = 16
# Where FAISS assigns training rows to cells: a number and a distance each.
ASSIGNED = 16
SHORTEST = 16


def parse_bytes(text: str) -> int:
    """Read `2GiB`, `500MB` or a number of bytes.

    Raises:
        InvalidInput: it is none of them.
    """
    match = SIZE.fullmatch(text.strip())
    if match is None:
        raise InvalidInput(f"expected a size like 2GiB or 500MB, found {text!r}")
    found = float(match["number"]) * (1024 if match["binary"] else 1000) ** POWERS[match["unit"].upper()]
    if not found < checks.MOST_BYTES:
        raise InvalidInput(f"expected a size like 2GiB or 500MB, found {text[:80]!r}: no machine has as much")
    return int(found)


def shown_bytes(size: float) -> str:
    """Write a size in the units of `parse_bytes`, rounded up: what is told as needed is enough."""
    for unit, power in (("GiB", 30), ("MiB", 20)):
        if size >= 1 << power:
            return f"{-(-size * 10 // (1 << power)) / 10:,.1f} {unit}"
    return f"{-(-size // 1024):,.0f} KiB"


# -- what there is ---------------------------------------------------------------------------


class Left(NamedTuple):
    """How many bytes a process may take yet, and who says so."""

    bytes: int
    why: str


def memory_left() -> Left | None:
    """Return what memory this process may take yet; None where nothing tells (not Linux, say).

    Raises:
        InvalidInput: `NESTVEC_MEMORY` is no size.
    """
    wanted = os.environ.get(VARIABLE, "").strip()
    if wanted:
        try:
            most = parse_bytes(wanted)
        except InvalidInput as error:
            raise InvalidInput(f"{VARIABLE}: {error}") from error
        _give_back()
        held = _fields(Path("/proc/self/status")).get("RssAnon", 0)
        return Left(max(0, most - held), f"{VARIABLE} is {wanted}")
    return min(_limits(), default=None)


def _give_back() -> None:
    """Return what was freed to the system: until then it counts as held. Only glibc keeps any, and knows how."""
    import ctypes

    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def _limits() -> Iterator[Left]:
    """Yield what each of those that may refuse memory would still give."""
    available = _fields(Path("/proc/meminfo")).get("MemAvailable")
    if available is not None:
        yield Left(available, "the machine has no more")
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, controllers, group = line.split(":", 2)
            if not controllers:
                yield from group_limits(
                    Path("/sys/fs/cgroup"), group, "memory.max", "memory.current", ("inactive_file", "active_file")
                )
            elif "memory" in controllers.split(","):
                names = "memory.limit_in_bytes", "memory.usage_in_bytes"
                cache = ("total_inactive_file", "total_active_file")
                yield from group_limits(Path("/sys/fs/cgroup/memory"), group, *names, cache)
    yield from _resource_limits()


def group_limits(mounted: Path, group: str, limit: str, usage: str, cache: Sequence[str]) -> Iterator[Left]:
    """Yield what a control group and those it is in leave; files that are only cached do not count."""
    # In a container the group is mounted as the root, under another name than the process knows it by.
    inner = mounted / group.strip("/")
    for folder in (inner, *inner.parents):
        if folder.is_relative_to(mounted):
            with contextlib.suppress(OSError, ValueError):
                most, used = (int((folder / name).read_text()) for name in (limit, usage))
                fields = _fields(folder / "memory.stat")
                cached = sum(fields.get(name, 0) for name in cache)
                yield Left(max(0, most - used + cached), f"its control group may have {shown_bytes(most)}")


def _resource_limits() -> Iterator[Left]:
    import resource

    held = _fields(Path("/proc/self/status"))
    for name, field in (("RLIMIT_AS", "VmSize"), ("RLIMIT_DATA", "VmData")):
        most = resource.getrlimit(getattr(resource, name))[0]
        if most != resource.RLIM_INFINITY and field in held:
            yield Left(max(0, most - held[field]), f"{name} is {shown_bytes(most)}")


def _fields(path: Path) -> dict[str, int]:
    """Read lines like `VmRSS:  12 kB` or `cache 12`, in bytes; empty where there is no such file."""
    found = {}
    with contextlib.suppress(OSError):
        for line in path.read_text().splitlines():
            name, *rest = line.replace(":", " ").split()
            if rest and rest[0].isdecimal():
                found[name] = int(rest[0]) * (1024 if rest[1:] == ["kB"] else 1)
    return found


# -- what a build takes ----------------------------------------------------------------------


def build_bytes(spec: IndexSpec, n: int, full_dim: int, queries: int = 0) -> int:
    """Return what building an index takes at its peak, about; never much less than it does.

    Args:
        spec: resolved.
        n: rows.
        full_dim: dimension D of the vectors.
        queries: how many are mixed into the training sample.
    """
    d = spec.dim
    rows = training_rows(spec, n, full_dim)
    trained = rows + queries
    prefixes = trained * d * 4
    # Stored rows, as float32, and as prefixes before and after they are scaled or turned; or all as prefixes already.
    block = min(n, BLOCK_ROWS) * (2 * full_dim + 3 * d) * 4 + (prefixes if rows == n else 0)
    # The covariance of the sample in double precision, and what it is taken apart into.
    axes = 6 * full_dim**2 * 8 if dict(spec.params).get(AXES) else 0
    training = trained * (full_dim * 4 + ASSIGNED) + 2 * prefixes + axes
    return FIXED + max(DRAWN * n, training, family(spec.family).growing_bytes(spec, n) + block)


def pruned_build_bytes(sampled: int, full_dim: int) -> int:
    """Return what building an index for exact search takes at its peak: a sample of rows, and turned, four times."""
    return FIXED + 4 * 4 * sampled * full_dim + 12 * full_dim**2 * 8


def require_memory(spec: IndexSpec, n: int, full_dim: int, queries: int = 0) -> None:
    """Refuse to build an index for which there is no memory.

    Args:
        spec: resolved.
        n: rows.
        full_dim: dimension D of the vectors.
        queries: how many are mixed into the training sample.

    Raises:
        NotEnoughMemory: it would take more than there is; says how much, and what would fit.
    """
    left = memory_left()
    needed = build_bytes(spec, n, full_dim, queries)
    if left is None or needed <= left.bytes:
        return
    other = smaller(spec, n, full_dim, queries, left.bytes)
    remedy = (
        "no index fits; give it more memory"
        if other is None
        else f"{other.key} would fit, with {shown_bytes(build_bytes(other, n, full_dim, queries))}: --index {other.key}"
    )
    raise NotEnoughMemory(
        f"building {spec.key} over {n:,} rows needs {shown_bytes(needed)} of memory, and {shown_bytes(left.bytes)} "
        f"are left ({left.why}); {remedy}"
    )


def smaller(spec: IndexSpec, n: int, full_dim: int, queries: int, most: int) -> IndexSpec | None:
    """Return a resolved index that is built within so many bytes: of the same family if any is, else of another.

    Of those that fit it is the one with the longest prefix, up to the one asked for.
    """
    dims, d = [], spec.dim
    while d >= min(SHORTEST, spec.dim):
        dims.append(d)
        d //= 2
    axes = tuple(one for one in spec.params if one[0] == AXES)
    for name in (spec.family, *(one for one in FAMILIES if one != spec.family)):
        for d in dims:
            with contextlib.suppress(InvalidSpec):
                other = resolve(IndexSpec(name, d, axes), n, full_dim)
                if build_bytes(other, n, full_dim, queries) <= most:
                    return other
    return None
