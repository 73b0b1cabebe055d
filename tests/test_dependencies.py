"""What setup.cfg asks for: versions without advisories that matter here, and what the tests run with is among them."""

from __future__ import annotations

from configparser import ConfigParser
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

READ = ConfigParser()
READ.read(Path(__file__).parents[1] / "setup.cfg", encoding="utf-8")
WANTED = [line.split(" >= ") for line in READ["options"]["install_requires"].split("\n") if line]


def numbers(text: str) -> list[int]:
    return [int("".join(filter(str.isdigit, part)) or 0) for part in text.partition("+")[0].split(".")]


def test_reading_weights_runs_no_code_in_any_torch_that_is_admitted() -> None:
    floors = {name: numbers(floor) for name, floor in WANTED}
    assert floors["torch"] >= [2, 6]  # CVE-2025-32434
    assert floors["torchvision"] >= [0, 21]
    assert floors["pyarrow"] >= [14, 0, 1]  # CVE-2023-47248


@pytest.mark.parametrize(("name", "floor"), WANTED)
def test_what_is_installed_is_what_is_asked_for(name: str, floor: str) -> None:
    try:
        assert numbers(version(name)) >= numbers(floor)
    except PackageNotFoundError:
        pytest.skip(f"{name} is not installed")
