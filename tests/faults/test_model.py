"""Some hundred steps of the model test; `scripts/model` takes thousands."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.faults.model import LargeMachine, Machine
from tests.faults.zygote import zygote


@pytest.fixture(scope="module", autouse=True)
def _commands() -> Iterator[None]:
    with zygote() as started:
        Machine.zygote = started
        yield


def told(examples: int, steps: int) -> settings:
    """Return settings for so many runs of so many steps, the same ones every time."""
    return settings(
        max_examples=examples,
        stateful_step_count=steps,
        derandomize=True,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )


def test_a_collection_is_what_a_dictionary_would_be() -> None:
    run_state_machine_as_test(Machine, settings=told(8, 40))


def test_a_large_one_is_too() -> None:
    run_state_machine_as_test(LargeMachine, settings=told(1, 25))
