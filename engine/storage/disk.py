"""The disk: what is flushed stays, a name is taken once, a full disk is said, and garbage waits for writers.

All of a collection's flushing, renaming, linking, deleting and locking is here, so that tests can fail each of
them in turn. A file is durable when it and the folder that names it were flushed; a new folder, when its parent was.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from engine.storage import layout
from indexers.errors import CollectionError, CommitConflict, DiskFull

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
OWN_FOLDER = os.O_DIRECTORY | os.O_NOFOLLOW
POLL_SECONDS = 0.05


# -- durable names ---------------------------------------------------------------------------


@contextmanager
def _opened(path: Path, flags: int = 0) -> Iterator[int]:
    # What is no file and no folder is never waited for.
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | flags)
    try:
        yield handle
    finally:
        os.close(handle)


def sync(path: Path) -> None:
    """Flush a file's content, or the names in a folder."""
    with _opened(path) as handle:
        os.fsync(handle)


def make_folder(folder: Path) -> None:
    """Make a folder and the parents it lacks, each durable in its own parent."""
    missing = [one for one in (folder, *folder.parents) if not one.is_dir()]
    for one in reversed(missing):
        with contextlib.suppress(FileExistsError):  # another process was faster
            one.mkdir()
        sync(one.parent)


def rename(temporary: Path, final: Path) -> None:
    """Give a flushed file its name, durably; a file of that name is replaced."""
    temporary.rename(final)
    sync(final.parent)


def link(temporary: Path, target: Path) -> None:
    """Give a flushed file its name, failing if the name is taken; `sync` of its folder makes it last.

    Raises:
        FileExistsError: it is taken.
    """
    # FAT, exFAT and some network shares have no hard links, and some of those no locks either.
    for way in (os.link, _rename_if_free, _copy_if_free):
        try:
            way(temporary, target)
        except FileExistsError:
            raise
        except OSError:
            if way is _copy_if_free:
                raise
        else:
            return


def _rename_if_free(temporary: Path, target: Path) -> None:
    """Rename a flushed file while nobody else does; fails where the file system has no locks."""
    with _opened(target.parent.parent) as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        if target.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
        temporary.rename(target)


def _copy_if_free(temporary: Path, target: Path) -> None:
    """Copy a flushed file; an exclusive create decides the race, and a reader that sees half refuses its hash."""
    with target.open("xb") as out:
        try:
            out.write(temporary.read_bytes())
            out.flush()
            os.fsync(out.fileno())
        except BaseException:
            # Half a version would be the newest, and refuse everybody: the disk may be full.
            target.unlink(missing_ok=True)
            raise


def remove(path: Path) -> None:
    """Delete a file, or find that somebody has."""
    path.unlink(missing_ok=True)


@contextmanager
def room_for(root: Path, what: str, needed: int = 0) -> Iterator[None]:
    """Say what was being written, and how much it needs, when a disk is full.

    Args:
        root: the collection.
        what: the folder or file being written, for the message.
        needed: bytes it will have, if that is known.

    Raises:
        DiskFull: instead of the error of whoever wrote; nothing else is changed.
    """
    try:
        yield
    except (OSError, RuntimeError) as error:
        if (said := full(error)) is None:
            raise
        wants = f"{what} needs {needed:,} bytes" if needed else f"{what} could not be written whole"
        raise DiskFull(
            f"{root}: {said.lower()}: {wants}, and {shutil.disk_usage(root).free:,} are free. The collection is as "
            f"it was: make room (`nestvec gc {root}` frees what older versions hold) and run the same command again"
        ) from error


def full(error: Exception) -> str | None:
    """Return how the system says that an error is of a disk without room; None where it is of something else."""
    # FAISS and HDF5 know no error numbers: they throw the text of them.
    texts = {one: os.strerror(one) for one in FULL}
    said = (text for one, text in texts.items() if one == getattr(error, "errno", None) or text in str(error))
    return next(said, None)


# -- locks -----------------------------------------------------------------------------------
#
# Readers hold a shared lock on the file of their version, writers one on the folder of versions for as long as they
# have files that no version lists yet. Garbage collection takes exclusive ones of these, and so does on the collection
# itself whoever names a version where there are no links. `flock` is per open file: processes and threads are all told
# apart, and a killed process lets go.


def require_own_folders(root: Path) -> None:
    """Refuse a collection that has links, or something else, in the place of its folders.

    Whoever follows them locks, renames and deletes what is another collection's, or nobody's.

    Raises:
        CollectionError: names the first.
    """
    for folder in layout.folders(root):
        _require_own(root, folder)


def require_own_versions(root: Path) -> None:
    """Do as `require_own_folders` for the one folder in which readers hold locks as well."""
    _require_own(root, layout.VERSIONS)


def _require_own(root: Path, folder: str) -> None:
    path = root / folder
    try:
        mode = path.lstat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return
    if stat.S_ISLNK(mode):
        raise CollectionError(
            f"{path} is a link, and the folders of a collection must lie in it: what is written, locked or deleted "
            f"through a link may be another's. Move the folder it leads to back into its place, or copy the collection "
            f"with what its links lead to (cp -rL {root} COPY)"
        )
    if not stat.S_ISDIR(mode):
        raise CollectionError(f"{path} is no folder, where a collection has one; move it out of the way")


@contextmanager
def writing(root: Path) -> Iterator[None]:
    """Keep garbage collection off a collection while files are written that no version lists yet.

    Raises:
        CollectionError: folders of it are links.
    """
    require_own_folders(root)
    with _opened(root / layout.VERSIONS, OWN_FOLDER) as handle:
        # Some network shares have no locks; `collecting` refuses there.
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_SH)
        yield


@contextmanager
def collecting(root: Path, *, wait: float) -> Iterator[None]:
    """Keep writers off a collection while garbage is collected.

    Args:
        root: the collection.
        wait: seconds to wait for those that are writing.

    Raises:
        CommitConflict: they are still writing.
        CollectionError: the file system has no locks, so nobody knows whether somebody writes; or folders are links.
    """
    require_own_folders(root)
    deadline = time.monotonic() + wait
    with _opened(root / layout.VERSIONS, OWN_FOLDER) as handle:
        while not try_exclusive(handle, root):
            if time.monotonic() > deadline:
                raise CommitConflict(f"another process is writing to {root}; run this again when it is done")
            time.sleep(POLL_SECONDS)
        yield


def share(handle: int) -> None:
    """Take a shared lock on an open file, waiting for whoever has an exclusive one.

    Some network shares have no locks; nothing but garbage collection needs this one.
    """
    with contextlib.suppress(OSError):
        fcntl.flock(handle, fcntl.LOCK_SH)


def try_exclusive(handle: int, root: Path) -> bool:
    """Take an exclusive lock on an open file if nobody holds any.

    Raises:
        CollectionError: the file system has no locks.
    """
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise CollectionError(
            f"the file system of {root} has no locks ({error.strerror}), so nobody can tell what is in use"
        ) from error
    return True
