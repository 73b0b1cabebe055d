"""Links in the place of a collection's folders and files: nothing is deleted, locked, written or hashed through one."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from engine.api import Collection
from engine.collection.commit import commit, current_version
from engine.collection.failures import Failure, record_failures
from engine.collection.garbage import collect, forget
from engine.collection.history import diff, rollback, versions
from engine.collection.verify import verify
from engine.jobs.compact import compact
from engine.jobs.index import RunOptions
from engine.jobs.remove import remove
from engine.jobs.repair import repair
from engine.progress import Silent
from engine.storage import layout
from indexers.errors import CollectionError, CorruptCollection
from tests.faults.states import assert_sound
from tests.helpers import clustered, index, nestvec, newest, save, vectors_collection

DIM = 8
FOLDERS = (
    *("versions", "items", "lookup", "deletes", "failures", "spaces", "spaces/main"),
    *("spaces/main/embeddings", "spaces/main/vectors", "spaces/main/indexes"),
)


def full(folder: Path) -> Path:
    """Make a collection with a file in every folder, and leftovers."""
    folder.mkdir()
    root = vectors_collection(folder, n=20)
    remove(root, ["v.npy#3"])
    commit(root, record_failures(root, set(), [Failure("v.npy", "bad", "of a reason")]), operation="index")
    return root


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    full(folder / "victim")
    shutil.copytree(folder / "victim", folder / "evil")
    return folder


@pytest.fixture
def pair(made: Path, tmp_path: Path) -> Path:
    """A folder with `evil/c.nest` and `victim/c.nest`, which hold the same."""
    return Path(shutil.copytree(made, tmp_path / "pair", symlinks=True))


def content_of(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def led_away(pair: Path, folder: str, into: str) -> Path:
    """Put a link to a folder of the victim in the place of a folder of the other collection, and return that."""
    evil = pair / "evil/c.nest"
    if (evil / folder).is_dir():
        shutil.rmtree(evil / folder)
    (evil / folder).symlink_to(pair / "victim/c.nest" / into)
    return evil


def adds(root: Path) -> None:
    index(root, save(root.parent / "more.npy", clustered(5, DIM, 1)), add=True)


CHANGES: dict[str, Callable[[Path], object]] = {
    "gc": lambda root: collect(root, older_than=timedelta(0)),
    "gc --dry-run": lambda root: collect(root, older_than=timedelta(0), dry_run=True),
    "add": adds,
    "remove": lambda root: remove(root, ["v.npy#5"]),
    "purge": lambda root: Collection.open(root, device="cpu").purge(["v.npy#5"]),
    "compact": compact,
    "repair": lambda root: repair(root, RunOptions(device="cpu"), Silent(), accept_loss=True),
    "rollback": lambda root: rollback(root, current_version(root) - 1),
}


@pytest.mark.parametrize("folder", FOLDERS)
def test_what_changes_a_collection_refuses_folders_that_are_links(pair: Path, folder: str) -> None:
    evil = led_away(pair, folder, folder)
    before = content_of(pair / "victim"), content_of(evil)
    for change in CHANGES.values():
        with pytest.raises(CollectionError, match=rf"c\.nest/{folder} is a link.*Move the folder"):
            change(evil)
        assert (evil / folder).is_symlink()
        assert (content_of(pair / "victim"), content_of(evil)) == before
    assert_sound(pair / "victim/c.nest")


@pytest.mark.parametrize("into", ["items", "spaces/main/embeddings", "nowhere"])
def test_a_folder_nothing_was_ever_in_may_lead_away_too(pair: Path, into: str) -> None:
    """As it was found: the only originals of a collection went, and all was said to be well."""
    evil = led_away(pair, "spaces/main/heads", into)
    victim = content_of(pair / "victim")
    with pytest.raises(CollectionError, match="spaces/main/heads is a link"):
        collect(evil, older_than=timedelta(0))
    forget(evil, [1, 2, 3])
    assert content_of(pair / "victim") == victim
    assert len(versions(evil)) > 1


def test_the_command_refuses_in_words(pair: Path) -> None:
    evil = led_away(pair, "failures", "items")
    for verb in (["gc", evil, "--older-than", "0"], ["remove", evil, "v.npy#5", "--purge"]):
        done = nestvec(*verb)
        assert done.returncode == 1
        assert b"failures is a link" in done.stderr


def test_two_collections_that_share_a_folder_can_be_read(pair: Path) -> None:
    evil = pair / "evil/c.nest"
    shutil.move(evil / "items", pair / "elsewhere")
    (evil / "items").symlink_to(pair / "elsewhere")
    assert not list(verify(evil))
    with Collection.open(evil, device="cpu") as opened:
        assert len(opened.search(clustered(1, DIM), 3)[0].uris) == 3
    assert diff(evil, current_version(evil) - 1) == []
    with pytest.raises(CollectionError, match="items is a link"):
        collect(evil)
    (evil / "items").unlink()
    shutil.move(pair / "elsewhere", evil / "items")
    collect(evil, older_than=timedelta(0))
    assert_sound(evil)


def test_readers_hold_no_lock_through_a_link(pair: Path) -> None:
    evil = led_away(pair, "versions", "versions")
    for read in (Collection.open, lambda root: list(verify(root)), versions):
        with pytest.raises(CollectionError, match="versions is a link"):
            read(evil)
    collect(pair / "victim/c.nest", older_than=timedelta(0))


def test_the_collection_itself_may_be_a_link(pair: Path) -> None:
    (pair / "link.nest").symlink_to("victim/c.nest")
    adds(pair / "link.nest")
    assert collect(pair / "link.nest", older_than=timedelta(0)).versions
    assert_sound(pair / "victim/c.nest")


@pytest.mark.parametrize("place", ["spaces/other", "items", "deletes"])
def test_what_is_no_folder_is_told(pair: Path, place: str) -> None:
    evil = pair / "evil/c.nest"
    shutil.rmtree(evil / place, ignore_errors=True)
    os.mkfifo(evil / place)
    with pytest.raises(CollectionError, match=f"{place} is no folder"):
        collect(evil)


# -- files -------------------------------------------------------------------------------------


def stand_ins(folder: Path, target: Path) -> dict[str, Callable[[Path], object]]:
    """Return what may be put in the place of a file."""

    def listen(path: Path) -> None:
        (folder / "s").unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(str(folder / "s"))
        (folder / "s").rename(path)

    return {
        "a named pipe": os.mkfifo,
        "a socket": listen,
        "a folder": Path.mkdir,
        "a link": lambda path: path.symlink_to(target),
        "a link ": lambda path: path.symlink_to("/dev/zero"),
        "a link  ": lambda path: path.symlink_to(folder / "nowhere"),
    }


READS: dict[str, Callable[[Path], object]] = {
    "search": lambda root: Collection.open(root, device="cpu").search(clustered(1, DIM), 3),
    "read": lambda root: Collection.open(root, device="cpu").search(clustered(1, DIM), 3)[0].uris,
    "exact": lambda root: Collection.open(root, device="cpu").search(clustered(1, DIM), 3, exact=True),
    "verify": lambda root: [str(one) for one in verify(root)],
    "diff": lambda root: diff(root, 1),
    "add": adds,
    "compact": compact,
    "rollback": lambda root: rollback(root, current_version(root) - 1),
    "gc": lambda root: collect(root, older_than=timedelta(0)),
}


NOT_READ = {
    "items": ("search", "read", "exact", "add"),
    "lookup": ("diff", "add", "compact", "rollback"),
    "deletes": (),
    "spaces/main/vectors": ("diff", "add", "compact", "rollback"),
    "spaces/main/embeddings": ("search", "read", "exact", "diff", "add"),
}
"""Verbs that do not need a file of a folder, or make it again, beside those that only say what is wrong."""


def outcomes(root: Path, said: str) -> set[str]:
    """Do everything with copies of a collection; return which verbs answered, in words, all others having refused."""
    fine = set()
    for verb, read in READS.items():
        copy = Path(shutil.copytree(root, root.parent / "copy", symlinks=True, copy_function=os.link))
        try:
            found = read(copy)
        except CorruptCollection as error:
            assert said in str(error), verb
        else:
            fine.add(verb)
            assert verb != "verify" or said in str(found)
        shutil.rmtree(copy)
    return fine


@pytest.mark.parametrize("kind", list(stand_ins(Path(), Path())))
def test_no_version_is_read_that_is_no_file(pair: Path, kind: str) -> None:
    evil = pair / "evil/c.nest"
    path = evil / layout.version_file(current_version(evil))
    path.unlink()
    stand_ins(pair, pair / "victim/c.nest" / layout.version_file(1))[kind](path)
    assert outcomes(evil, f"is {kind.strip()} and no regular file") == set()
    assert any(one.problem and "no regular file" in one.problem for one in versions(evil))


@pytest.mark.parametrize("kind", list(stand_ins(Path(), Path())))
def test_an_older_version_that_is_no_file_is_told_and_only_its_name_goes(pair: Path, kind: str) -> None:
    evil, target = pair / "evil/c.nest", pair / "victim/c.nest" / layout.version_file(1)
    (evil / layout.version_file(1)).unlink()
    stand_ins(pair, target)[kind](evil / layout.version_file(1))
    assert any("no regular file" in str(one) for one in verify(evil))
    before = content_of(pair / "victim")
    if kind == "a folder":
        with pytest.raises(CorruptCollection, match="is a folder and no regular file"):
            collect(evil, older_than=timedelta(0))
    else:
        assert 1 in collect(evil, older_than=timedelta(0)).versions
        assert not os.path.lexists(evil / layout.version_file(1))
    assert content_of(pair / "victim") == before


@pytest.mark.parametrize("kind", ["a named pipe", "a link"])
@pytest.mark.parametrize("folder", NOT_READ)
def test_no_file_is_read_that_is_none(pair: Path, folder: str, kind: str) -> None:
    """The link leads to the very same file of another collection, as git-annex lays them out."""
    evil = pair / "evil/c.nest"
    path = next(evil / ref.path for ref in newest(evil).files() if ref.path.startswith(folder + "/"))
    path.rename(pair / "kept")
    stand_ins(pair, pair / "kept")[kind](path)
    assert outcomes(evil, f"is {kind.strip()} and no regular file") == {"verify", "gc", *NOT_READ[folder]}
    assert (pair / "kept").exists()


def test_leftovers_that_are_links_go_and_what_they_lead_to_stays(pair: Path) -> None:
    evil, victim = pair / "evil/c.nest", pair / "victim/c.nest"
    before = content_of(victim)
    there = next(iter(newest(victim).items)).path
    (evil / "items/.tmp-1").symlink_to(victim / there)
    (evil / "items/.tmp-2").symlink_to("/dev/zero")
    (evil / "items/.tmp-3").symlink_to("nowhere")
    (evil / "items" / f"{'0' * 32}.parquet").symlink_to(victim / there)
    os.mkfifo(evil / "lookup/.tmp-4")
    gone = collect(evil, older_than=timedelta(0)).files
    assert {one for one in gone if ".tmp-" in one or "0" * 32 in one} == {
        *("items/.tmp-1", "items/.tmp-2", "items/.tmp-3", f"items/{'0' * 32}.parquet", "lookup/.tmp-4"),
    }
    assert content_of(victim) == before
    assert_sound(evil)
