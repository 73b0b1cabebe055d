"""Odd values at every parameter of every verb, found by looking: usage errors, before anything is begun."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from engine.api import Collection
from engine.cli import USAGE, VERBS, cli
from engine.cli.options import NamedPath
from indexers.errors import InvalidInput, NestvecError
from tests.helpers import vectors_collection

HUGE = "99999999999999999999"


def parameters() -> Iterator[tuple[str, click.Parameter]]:
    with click.Context(cli) as context:
        for verb in VERBS:
            command = cli.get_command(context, verb)
            assert command is not None
            yield from ((verb, one) for one in command.params if one.name != "help")


def arguments(verb: str, odd: click.Parameter, value: str, collection: str = "x") -> list[str]:
    """Return a command line that is fine but for one value."""
    found = [verb]
    for name, one in parameters():
        if name != verb or not (one.required or one is odd or (value == "" and one.name == odd.name)):
            continue
        fine = one.type.choices[0] if isinstance(one.type, click.Choice) else "1"
        given = value if one.name == odd.name else collection if one.name == "collection" else fine
        found += [one.opts[0], given] if isinstance(one, click.Option) else [given]
    return found


def ids(found: list[tuple[str, click.Parameter]]) -> list[str]:
    return [f"{verb}-{one.name}" for verb, one in found]


PATHS = [(verb, one) for verb, one in parameters() if isinstance(one.type, click.Path)]
NUMBERS = [(verb, one) for verb, one in parameters() if one.type.name.startswith(("integer", "float"))]
TEXTS = [
    (verb, one)
    for verb, one in parameters()
    if isinstance(one.type, click.types.StringParamType) and not getattr(one, "is_flag", False)
]


@pytest.mark.parametrize(("verb", "one"), PATHS, ids=ids(PATHS))
def test_an_empty_path_is_no_folder(
    verb: str, one: click.Parameter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert isinstance(one.type, NamedPath)
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(cli, arguments(verb, one, ""))
    assert done.exit_code == USAGE, done.output
    assert "an empty text" in done.output
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("verb", "one"), NUMBERS, ids=ids(NUMBERS))
def test_a_number_no_collection_has(
    verb: str, one: click.Parameter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    low = "-1.5" if one.name == "min_score" else "-1"  # a cosine
    for value in (HUGE, low, "nonsense", "") if one.name != "rate" else ("-1", "nonsense", ""):
        done = CliRunner().invoke(cli, arguments(verb, one, value))
        assert done.exit_code == USAGE or isinstance(done.exception, InvalidInput), (value, done.output, done.exception)
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return vectors_collection(tmp_path_factory.mktemp("odd"))


@pytest.mark.parametrize(("verb", "one"), TEXTS, ids=ids(TEXTS))
def test_an_empty_text_is_refused_or_nothing(
    verb: str, one: click.Parameter, collection: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with Collection.open(collection) as opened:
        version = opened.version
        done = CliRunner().invoke(cli, arguments(verb, one, "", str(collection)))
        assert done.exit_code != 0
        assert done.exception is None or isinstance(done.exception, NestvecError | SystemExit), repr(done.exception)
        assert not opened.refresh()
        assert opened.version == version
    assert not list(tmp_path.iterdir())
