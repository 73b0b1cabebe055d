"""What the documents say of verbs, options, names, files and each other is so."""

from __future__ import annotations

import ast
import inspect
import re
import shlex
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import click
import pytest

import engine
from engine.cli import VERBS, cli
from tests.documents import PAGES, PYTHON, ROOT, anchors, blocks, inline, links, named, python_page, snippets

each_page = pytest.mark.parametrize("page", PAGES, ids=named)

# Of other commands than ours.
THEIRS = {"--no-deps"}
# What pages of code call an open collection.
OPEN = "photos"
CODE = ("engine", "indexers", "scripts", "tests", "docs", "data")
FILES = [str(path.relative_to(ROOT)) for folder in CODE for path in (ROOT / folder).rglob("*")]


def command_of(verb: str) -> click.Command:
    command = cli.get_command(click.Context(cli), verb)
    assert command is not None
    return command


def options_of(verb: str) -> set[str]:
    return {name for one in command_of(verb).params for name in (*one.opts, *one.secondary_opts)}


def commands(page: Path) -> Iterator[list[str]]:
    """Yield the words of every `nestvec VERB …` in the code of a page."""
    for text in [*blocks(page), *inline(page)]:
        for line in text.splitlines():
            found = re.search(r"(?:^|\s)nestvec (.*)", line)
            if found is not None and not line.lstrip().startswith("#"):
                yield shlex.split(found[1], comments=True)


def whole_commands(page: Path) -> Iterator[list[str]]:
    """Yield those that could be typed as they stand: lines of a block."""
    for text in blocks(page):
        for line in text.splitlines():
            if line.startswith("nestvec ") and "…" not in line:
                yield shlex.split(line, comments=True)[1:]


@each_page
def test_what_is_typed_is_understood(page: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for verb, *words in whole_commands(page):
        for name in words:
            if name.endswith(".txt"):
                Path(name).touch()  # click opens it as it reads the line
        assert verb in VERBS, f"there is no verb {verb}"
        with command_of(verb).make_context(verb, list(words)):
            pass


@each_page
def test_verbs_have_the_options_that_are_written_beside_them(page: Path) -> None:
    asked = [*commands(page), *(words.split() for words in inline(page) if words.split()[0] in VERBS)]
    for verb, *words in asked:
        if verb.startswith("-"):
            continue
        assert verb in VERBS, f"there is no verb {verb}"
        for word in words:
            if re.match(r"-[a-z-]", word):
                assert word.partition("=")[0] in options_of(verb), f"nestvec {verb} has no {word}"


@each_page
def test_options_that_stand_alone_belong_to_some_verb(page: Path) -> None:
    known = {option for verb in VERBS for option in options_of(verb)} | THEIRS
    alone = {words.split()[0] for words in inline(page) if words.startswith("--")}
    if page.is_relative_to(ROOT / "docs" / "benchmarks") or page.is_relative_to(ROOT / "scripts"):
        return  # they speak of the options of scripts
    assert alone <= known


def test_every_verb_is_in_the_documents() -> None:
    found = {words[0] for page in PAGES for words in commands(page) if words}
    found |= {words.split()[0] for page in PAGES for words in inline(page)}
    assert set(VERBS) <= found


def resolved(node: ast.expr) -> Any:
    """Return the object of ours an expression names; None where it is something else.

    Raises:
        AttributeError: there is none of that name.
    """
    if isinstance(node, ast.Name):
        owner = {"engine": engine, OPEN: engine.Collection}.get(node.id)
        return owner or (getattr(engine, node.id) if node.id in engine.__all__ else None)
    if not isinstance(node, ast.Attribute) or (owner := resolved(node.value)) is None:
        return None
    if owner is engine and node.attr not in engine.__all__:
        if not any((ROOT / "engine" / f"{node.attr}{end}").exists() for end in ("", ".py")):
            raise AttributeError(f"engine has no {node.attr}")
        return None
    return inspect.getattr_static(owner, node.attr) if inspect.isclass(owner) else getattr(owner, node.attr)


def check_code(tree: ast.AST, *, whole: bool) -> None:
    """Check the names of ours in a piece of Python, and that calls of them take what they are given.

    Args:
        tree: the code.
        whole: whether nothing that must be given is left out.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            module = import_module(node.module or "")
            assert all(hasattr(module, alias.name) for alias in node.names), ast.unparse(node)
        if isinstance(node, ast.Attribute | ast.Name):
            resolved(node)
        if isinstance(node, ast.Call) and (called := resolved(node.func)) is not None:
            method = isinstance(called, classmethod) or (inspect.isfunction(called) and "." in called.__qualname__)
            signature = inspect.signature(called.__func__ if isinstance(called, classmethod) else called)
            given = {one.arg: one.value for one in node.keywords if one.arg}
            (signature.bind if whole else signature.bind_partial)(*([None] if method else []), *node.args, **given)


@each_page
def test_names_in_code_are_there_and_take_what_they_are_given(page: Path) -> None:
    for text in snippets(page):
        check_code(ast.parse(text), whole=True)
    names = "|".join(("engine", OPEN, *engine.__all__))
    for text in inline(page):
        if re.fullmatch(rf"({names})(\.[a-zA-Z_]+)+(\(.*\))?", text) and not text.endswith((".nest", ".py")):
            check_code(ast.parse(text.replace("…", "...")), whole=False)


def test_every_public_name_is_on_its_page() -> None:
    assert PYTHON.read_text(encoding="utf-8") == python_page(), "python -m tests.documents makes it anew"


@each_page
def test_links_lead_somewhere(page: Path) -> None:
    for target in links(page):
        path, _, anchor = target.partition("#")
        there = page.parent / path if path else page
        assert there.exists(), target
        assert not anchor or anchor in anchors(there), target


@each_page
def test_files_that_are_named_are_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for found in re.findall(rf"(?<![\w./<-])(?:{'|'.join(CODE)})/[\w./-]*\w", text):
        assert (ROOT / found).exists() or (page.parent / found).exists(), found
    for found in re.findall(r"(?<![\w./@<-])[\w/]+\.(?:py|c)\b", text):
        assert any(f"/{one}".endswith(f"/{found}") for one in FILES), found


def test_every_decision_is_in_the_index() -> None:
    folder = ROOT / "docs" / "decisions"
    listed = [target for target in links(folder / "README.md") if "/" not in target]
    assert sorted(listed) == sorted(path.name for path in folder.glob("*.md") if path.name != "README.md")
