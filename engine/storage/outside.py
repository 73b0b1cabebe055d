"""Files and folders outside of a collection: each appears whole under its name, or not at all."""

from __future__ import annotations

import os
import shutil
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from engine.storage import disk, layout
from indexers.errors import DiskFull, InvalidInput


@contextmanager
def appearing(path: Path, *, folder: bool = False, overwrite: bool = False) -> Iterator[Path]:
    """Write a file or a folder that has its name once it is whole and flushed, and not before.

    The value is where to write it: an empty folder, or a name that no file has yet. A process that is killed leaves
    that behind, called `.tmp-…`, in the folder of `path`.

    Args:
        path: its name.
        folder: whether it is a folder.
        overwrite: whether a file that is there is replaced. A folder never is, unless it is empty.

    Raises:
        InvalidInput: something is there, or nothing can be written there.
        DiskFull: it does not fit; nothing is left of it.
    """
    check_free(path, folder=folder, overwrite=overwrite)
    temporary = path.absolute().with_name(f"{layout.TEMPORARY}{uuid.uuid4().hex}")
    _begin(temporary, path, folder=folder)
    try:
        yield temporary
        for one in sorted(temporary.rglob("*")) if folder else []:
            disk.sync(one)
        disk.sync(temporary)
        _name(temporary, path.absolute(), folder=folder, overwrite=overwrite)
    except (OSError, RuntimeError) as error:
        if (said := disk.full(error)) is None:
            raise
        raise DiskFull(f"{path}: {said.lower()}: nothing is left of it; make room and try again") from error
    finally:
        shutil.rmtree(temporary) if temporary.is_dir() else disk.remove(temporary)


def check_free(path: Path, *, folder: bool, overwrite: bool) -> None:
    """Refuse the name of something that is there and would be lost.

    Raises:
        InvalidInput: something is there.
    """
    try:
        mode = path.lstat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise InvalidInput(f"{path} cannot be written: {error.strerror}") from error
    if folder and stat.S_ISDIR(mode):
        if any(path.iterdir()):
            raise InvalidInput(f"{path} is a folder with something in it, and is not replaced; choose another name")
    elif not (stat.S_ISREG(mode) and not folder):
        kind = "a folder" if folder else "a file"
        raise InvalidInput(f"{path} is there already and no place for {kind}; choose another name")
    elif not overwrite:
        raise InvalidInput(f"{path} exists already; choose another name, or replace it with --overwrite")


def _begin(temporary: Path, path: Path, *, folder: bool) -> None:
    """Make the folder, or see whether a file can be made."""
    try:
        temporary.mkdir() if folder else temporary.open("xb").close()
    except OSError as error:
        raise InvalidInput(f"{path} cannot be written: {error.strerror} ({temporary.parent})") from error


def _name(temporary: Path, final: Path, *, folder: bool, overwrite: bool) -> None:
    """Give what is whole its name."""
    if folder or overwrite:
        disk.rename(temporary, final)  # a folder only replaces an empty one: the file system refuses any other
        return
    try:
        disk.link(temporary, final)
    except FileExistsError:
        raise InvalidInput(f"{final} was written by somebody else meanwhile; choose another name") from None
    disk.sync(final.parent)


def lies_in(path: Path, root: Path) -> bool:
    """Whether a path leads below a folder, or to it, however it is written."""
    real, top = os.path.realpath(path), os.path.realpath(root)
    return real == top or real.startswith(top.rstrip("/") + "/")
