"""Texts out of files and arguments that would move a cursor, set a title or forge a line: every verb, and both ways."""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from engine.cli import VERBS
from tests.conftest import Carried
from tests.faults.texts import HARMLESS, HOSTILE, build, doctor, doctor_encoder

CODE = Path(__file__).parents[2] / "engine"
DOCTORED: dict[str, Callable[[Path, str], None]] = {"everywhere": doctor, "encoder": doctor_encoder}

# {c} is the collection, {n} begins the name of a file, {t} is any text. Each is run on a collection of its own.
CALLS: dict[str, tuple[tuple[str, ...], ...]] = {
    "index": (("{n}.npy", "{c}"), ("{n}.npy", "{n}d.nest"), ("{n}none", "{c}"), ("{n}.npy", "{n}.csv")),
    "add": (("{c}", "{n}.npy"), ("{c}", "{n}none"), ("{c}", "{n}.npy", "--table", "{n}.csv")),
    "search": (
        *(("{c}", "--vectors", "{n}.npy"), ("{c}", "--vectors", "{n}.npy", "--space", "turned", "--html", "{n}.html")),
        *(("{c}", "{t}"), ("{c}", "{n}.txt", "more {t}"), ("{c}", "--queries", "{n}none"), ("{t}", "{c}")),
        *(("{c}", "--queries", "{n}.txt"), ("{c}", "{t}", "--plan", "{t}"), ("{c}", "{t}", "--space", "{t}")),
        *(("{c}", "{t}", "-k", "{t}"), ("{c}", "{t}", "--{t}"), ("{c}", "--vectors", "{n}.txt"), ("{n}none", "{t}")),
    ),
    "similar": (("{c}", "{t}row-1", "{t}row-2"), ("{c}", "{n}none"), ("{c}", "{n}.txt"), ("{n}.npy", "{c}")),
    "train": (
        ("{c}", "--objective", "rotation", "--dims", "4", "-o", "{n}new.safetensors", "--steps", "2"),
        ("{c}", "--objective", "supervised", "--labels", "{t}", "--dims", "4", "-o", "{n}new.safetensors"),
        ("{n}none", "--objective", "{t}", "--dims", "{t}", "-o", "{n}"),
        ("{c}", "--dims", "4", "-o", "{n}"),
    ),
    "apply-head": (
        *(
            ("{c}", "{n}.safetensors", "--name", "more"),
            ("{c}", "{n}.npy"),
            ("{c}", "{n}.safetensors", "--name", "{t}"),
        ),
        ("{c}", "{n}none"),
    ),
    "remove": (("{c}", "{t}row-1"), ("{c}", "{t}none"), ("{c}", "--below", "{t}"), ("{c}", "--space", "{t}")),
    "compact": (("{c}",), ("{n}none",), ("{n}.npy",)),
    "versions": (("{c}",), ("{n}none",)),
    "diff": (("{c}", "2"), ("{c}", "2", "4"), ("{c}", "{t}")),
    "rollback": (("{c}", "3"), ("{c}", "99"), ("{c}", "{t}")),
    "gc": (("{c}", "--older-than", "0"), ("{c}", "--older-than", "{t}")),
    "tune": (("{c}", "--queries", "{n}.npy"), ("{c}", "--queries", "{n}.txt"), ("{c}", "--memory", "{t}")),
    "explain": (("{c}", "{t}row-1", "--item"), ("{c}", "{t}row-1", "--item", "--plan", "{t}"), ("{c}", "{t}")),
    "evaluate": (
        *(("{c}", "--labels", "kind", "--dims", "8", "-k", "2"), ("{c}", "--labels", "{t}"), ("{c}", "--dims", "{t}")),
        ("{c}", "--head", "{n}.safetensors", "--dims", "8", "--plot", "{n}.svg", "-k", "2", "--space", "turned"),
        *(("--run", "{n}.run", "--qrels", "{n}.qrels"), ("--run", "{n}.qrels", "--qrels", "{n}.run")),
        *(("{c}", "--space", "{t}"), ("{c}", "--texts", "{n}none"), ("{c}", "--parquet", "{n}none/x")),
    ),
    "words": (("{c}",), ("{c}", "--column", "{t}"), ("{c}", "--stem", "{t}"), ("{c}", "--topics", "{n}.txt")),
    "between": (
        *(("{c}", "--low", "{t}row-1", "--high", "{t}row-2"), ("{c}", "--low", "{t}row-1", "--high", "{t}none")),
        *(("{c}", "{t}", "more {t}"), ("{c}", "--low", "{t}row-1", "--high", "{t}row-2", "--where", "{t}")),
    ),
    "export": (
        *(("{c}", "{n}.parquet", "--to", "parquet"), ("{c}", "{n}.jsonl", "--to", "qdrant")),
        *(
            ("{c}", "{n}none/x", "--to", "faiss"),
            ("{c}", "{n}.faiss", "--to", "{t}"),
            ("{c}", "{n}.npy", "--to", "hdf5"),
        ),
    ),
    "info": (("{c}",), ("{c}", "--failures"), ("{n}none",), ("{c}", "{t}")),
    "verify": (("{c}",),),
    "repair": (("{c}",), ("{c}", "--encoder", "{t}")),
    "encoders": ((), ("--all", "{t}")),
    "doctor": ((), ("{t}",)),
}


class Said(NamedTuple):
    """What a command printed."""

    out: str
    err: str
    code: int
    files: dict[str, str]


Run = Callable[[str, str, str, tuple[str, ...]], Said]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two folders that differ in their texts alone, with a collection for each way to doctor one."""
    folder = tmp_path_factory.mktemp("made")
    for kind, odd in (("harmless", HARMLESS), ("hostile", HOSTILE)):
        (folder / kind).mkdir()
        build(folder / kind, odd)
        for name, change in DOCTORED.items():
            root = folder / kind / f"{odd}{name}.nest"
            shutil.copytree(folder / kind / "c.nest", root)
            change(root, odd)
    return folder


@pytest.fixture
def run(made: Path, tmp_path: Path, carried_out: Carried) -> Run:
    def said(kind: str, doctored: str, verb: str, arguments: tuple[str, ...]) -> Said:
        odd = HARMLESS if kind == "harmless" else HOSTILE
        folder = tmp_path / f"{kind}-{len(list(tmp_path.iterdir()))}"
        shutil.copytree(made / kind, folder)
        filled = [one.format(c=f"{odd}{doctored}.nest", n=odd, t=odd) for one in arguments]
        done = carried_out(verb, *filled, cwd=folder)
        more = {path.suffix: path.read_text() for path in folder.iterdir() if path.suffix in (".html", ".svg")}
        return Said(done.stdout, done.stderr, done.returncode, more)

    return said


def assert_plain(text: str) -> None:
    raw = sorted({c for c in text if not c.isprintable() and c != "\n"})
    assert not raw, f"{raw} in {text!r}"


def assert_as_plain(run: Run, doctored: str, verb: str, arguments: tuple[str, ...]) -> Said:
    """Run a verb on both collections: what is hostile prints as many lines as what is not, and ends the same way."""
    harmless = run("harmless", doctored, verb, arguments)
    hostile = run("hostile", doctored, verb, arguments)
    assert bool(hostile.code) == bool(harmless.code), (arguments, hostile, harmless)
    for given, plain in ((hostile.out, harmless.out), (hostile.err, harmless.err)):
        assert_plain(given)
        assert given.count("\n") == plain.count("\n"), (arguments, given, plain)
    for text in hostile.files.values():
        assert_plain(text)
    return hostile


@pytest.mark.parametrize("verb", VERBS)
def test_nothing_gets_out_raw(run: Run, verb: str) -> None:
    for arguments in CALLS[verb]:
        assert_as_plain(run, "everywhere", verb, arguments)


@pytest.mark.parametrize("verb", [verb for verb, calls in CALLS.items() if "{c}" in calls[0] and verb != "train"])
def test_what_an_encoder_is_called(run: Run, verb: str) -> None:
    for arguments in CALLS[verb][:2]:
        assert_as_plain(run, "encoder", verb, arguments)


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb not in ("train", "doctor")])
def test_json_is_a_value_a_line(run: Run, verb: str) -> None:
    for arguments in CALLS[verb][:2]:
        for one in assert_as_plain(run, "everywhere", verb, (*arguments, "--json")).out.splitlines():
            json.loads(one)


def test_every_verb_is_tried() -> None:
    assert set(CALLS) == set(VERBS)


def test_an_unknown_verb(run: Run) -> None:
    for verb in (HOSTILE, f"--{HOSTILE}"):
        said = run("hostile", "everywhere", verb, ())
        assert said.code == 2
        assert_plain(said.err)


# -- the door ------------------------------------------------------------------------------


def test_there_is_one_door() -> None:
    outward = {"echo", "secho", "write", "writelines", "print_exc", "showwarning", "confirm", "prompt", "pager"}
    for path in sorted((CODE / "cli").glob("*.py")):
        if path.stem == "output":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                called = node.func
                name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
                assert name not in {"print", *outward}, f"{path.name}:{node.lineno} prints past engine.cli.output"
                assert ast.unparse(called) not in {"os.write", "error.show"}, f"{path.name}:{node.lineno}"


def test_what_libraries_say_goes_through_the_door() -> None:
    code = (
        "import logging, warnings, sys\n"
        "from engine.cli.output import hear_of_all\n"
        "hear_of_all()\n"
        "logging.getLogger('x').warning('one %s', sys.argv[1])\n"
        "warnings.warn('two ' + sys.argv[1])\n"
        "raise RuntimeError(sys.argv[1])\n"
    )
    done = subprocess.run([sys.executable, "-c", code, HOSTILE], capture_output=True, check=False, text=True)
    assert_plain(done.stderr)
    assert "\\x1b[2J" in done.stderr
    assert done.stderr.count("one ") == 1
