"""Faults at every step that matters to a collection: what flushes, names or deletes a file is counted, and one fails.

Installed in a process of its own before a command runs. The steps are `fsync`, `link`, `rename`, `unlink`, `mkdir`
and `rmdir` below a collection; between two of them only temporary files change, which nobody reads. At the step
that is chosen

- "kill": the process is killed before it, and everything before it has happened;
- "power": the power goes, and of everything before it only that has happened which was flushed: files whose
  content was not are cut in half, and names, folders and deletions are undone unless their folder was flushed;
- "EIO", "ENOSPC": the step fails, and the process goes on.
"""

from __future__ import annotations

import errno
import os
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

KILL, POWER, EIO, ENOSPC = "kill", "power", "EIO", "ENOSPC"


class Shim:
    """Counts the steps below a folder and makes one of them fail.

    Args:
        root: the collection; it need not exist yet.
        at: number of the step, from 0; -1 for none.
        how: see the module.
    """

    def __init__(self, root: Path, at: int = -1, how: str = KILL) -> None:
        self.root = root.absolute()
        self.steps = 0
        self._at, self._how = at, how
        # A second name for whatever is deleted or replaced, on the same file system, to bring it back.
        self._attic = Path(tempfile.mkdtemp(prefix="attic-", dir=self.root.parent))
        self._undo: list[tuple[Path, Callable[[], None]]] = []
        self._flushed = {_inode(path) for path in _files(self.root)}
        self._real = {name: getattr(os, name) for name in ("fsync", "link", "rename", "unlink", "mkdir", "rmdir")}

    def install(self) -> None:
        """Stand in for the functions of `os`, for this whole process."""
        os.fsync = self._fsync
        os.link = self._link  # type: ignore[assignment]
        os.rename = self._rename  # type: ignore[assignment]
        os.unlink = os.remove = self._unlink  # type: ignore[assignment]
        os.mkdir = self._mkdir  # type: ignore[assignment]
        os.rmdir = self._rmdir  # type: ignore[assignment]

    def _step(self) -> None:
        self.steps += 1
        if self.steps - 1 != self._at:
            return
        if self._how in (EIO, ENOSPC):
            number = getattr(errno, self._how)
            raise OSError(number, os.strerror(number))
        if self._how == POWER:
            self._cut_power()
        os.kill(os.getpid(), signal.SIGKILL)

    def _is_inside(self, path: Any) -> bool:
        absolute = Path(os.path.abspath(os.fsdecode(path)))
        return absolute == self.root or self.root in absolute.parents

    def _fsync(self, handle: Any) -> None:
        number = handle if isinstance(handle, int) else handle.fileno()
        path = Path(os.readlink(f"/proc/self/fd/{number}"))
        counted = self._is_inside(path) or path == self.root.parent
        if counted:
            self._step()
        self._real["fsync"](handle)
        if counted:
            self._flushed.add(_inode(path))
            self._undo = [one for one in self._undo if one[0] != path]

    def _link(self, old: Any, new: Any, **more: Any) -> None:
        if self._is_inside(new):
            self._step()
            self._real["link"](old, new, **more)
            self._later(new, lambda: self._real["unlink"](new))
        else:
            self._real["link"](old, new, **more)

    def _rename(self, old: Any, new: Any, **more: Any) -> None:
        if not self._is_inside(new):
            self._real["rename"](old, new, **more)
            return
        self._step()
        kept = self._keep(new) if os.path.exists(new) else None
        self._real["rename"](old, new, **more)

        def undo() -> None:
            self._real["rename"](new, old)
            if kept is not None:
                self._real["rename"](kept, new)

        self._later(new, undo)

    def _unlink(self, path: Any, **more: Any) -> None:
        if not self._is_inside(path):
            self._real["unlink"](path, **more)
            return
        self._step()
        kept = self._keep(path) if os.path.lexists(path) else None
        self._real["unlink"](path, **more)
        if kept is not None:
            self._later(path, lambda: self._real["rename"](kept, path))

    def _mkdir(self, path: Any, *more: Any, **named: Any) -> None:
        if not self._is_inside(path):
            self._real["mkdir"](path, *more, **named)
            return
        self._step()
        self._real["mkdir"](path, *more, **named)
        # What is in a folder whose name was lost is lost with it.
        self._later(path, lambda: self._real["rename"](path, self._attic / f"folder-{self.steps}"))

    def _rmdir(self, path: Any, **more: Any) -> None:
        if not self._is_inside(path):
            self._real["rmdir"](path, **more)
            return
        self._step()
        self._real["rmdir"](path, **more)
        self._later(path, lambda: self._real["mkdir"](path))

    def _keep(self, path: Any) -> Path:
        kept = self._attic / f"{self.steps}-{os.path.basename(os.fsdecode(path))}"
        self._real["link"](path, kept)
        return kept

    def _later(self, path: Any, undo: Callable[[], None]) -> None:
        """Note how a change to a folder is undone, until that folder is flushed."""
        self._undo.append((Path(os.path.abspath(os.fsdecode(path))).parent, undo))

    def _cut_power(self) -> None:
        for _, undo in reversed(self._undo):
            undo()
        for path in _files(self.root):
            if _inode(path) not in self._flushed:
                os.truncate(path, path.stat().st_size // 2)


def _files(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file()] if root.exists() else []


def _inode(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino
