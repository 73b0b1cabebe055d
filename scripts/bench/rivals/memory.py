"""Resident memory of a process and its children, anonymous and mapped apart (Linux)."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Memory:
    """Resident bytes.

    Attributes:
        anonymous: what the process holds as its own.
        mapped: pages of files, which the system can drop and read again.
    """

    anonymous: int
    mapped: int

    def __sub__(self, other: Memory) -> Memory:
        return Memory(self.anonymous - other.anonymous, self.mapped - other.mapped)

    def __add__(self, other: Memory) -> Memory:
        return Memory(self.anonymous + other.anonymous, self.mapped + other.mapped)


def parse_rollup(text: str) -> Memory:
    """Read what /proc/PID/smaps_rollup says.

    Raises:
        ValueError: it says nothing of Rss or Anonymous.
    """
    found = {}
    for line in text.splitlines():
        name, colon, rest = line.partition(":")
        if colon and rest.strip().endswith("kB"):
            found[name] = int(rest.split()[0]) * 1024
    if not {"Rss", "Anonymous"} <= found.keys():
        raise ValueError(f"expected Rss and Anonymous in smaps_rollup, found {sorted(found)}")
    return Memory(found["Anonymous"], found["Rss"] - found["Anonymous"])


def descendants(pid: int) -> list[int]:
    """Return a process and all below it."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(stat.parent.name))
    found, waiting = [], [pid]
    while waiting:
        one = waiting.pop()
        found.append(one)
        waiting += children.get(one, [])
    return found


def resident(pid: int) -> Memory:
    """Return what a process and its children hold."""
    total = Memory(0, 0)
    for one in descendants(pid):
        with contextlib.suppress(OSError):
            total += parse_rollup(Path(f"/proc/{one}/smaps_rollup").read_text())
    return total
