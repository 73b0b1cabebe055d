"""Do thousands of things to a collection and to a dictionary, and compare them after each.

    scripts/model --steps 5000
    scripts/model --steps 5000 --seed 7 --large

The steps are those of tests/faults/model.py: every verb that changes a collection, crashes in the middle of them, bits
that flip, rollbacks and searches. A failure is shrunk to the fewest steps, and the same seed finds it again.
"""

from __future__ import annotations

import time

import click

LENGTH = 100


@click.command()
@click.option("--steps", type=click.IntRange(min=1), default=5000, show_default=True, help="How many, about.")
@click.option("--seed", type=int, default=0, show_default=True, help="Other steps for another number.")
@click.option("--large", is_flag=True, help="Begin with rows enough to be tuned.")
def main(steps: int, seed: int, large: bool) -> None:
    """Run the model test; exit with 1 at the first difference."""
    from hypothesis import HealthCheck, Phase, settings
    from hypothesis import seed as seeded
    from hypothesis.stateful import run_state_machine_as_test

    from tests.faults.model import LargeMachine, Machine
    from tests.faults.zygote import zygote

    how = settings(
        max_examples=-(-steps // LENGTH),
        stateful_step_count=LENGTH,
        database=None,
        deadline=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    started = time.perf_counter()
    with zygote() as commands:
        Machine.zygote = commands
        run_state_machine_as_test(seeded(seed)(LargeMachine if large else Machine), settings=how)
    click.echo(f"seed {seed}: {Machine.steps:,} steps in {time.perf_counter() - started:.0f} s, no difference")


if __name__ == "__main__":
    main()
