"""Give hostile files to everything that reads one, and see that each ends in an answer or a named error.

    scripts/fuzz --seconds 30                       # of every format
    scripts/fuzz --seconds 600 --target hnsw --seed 7 --out findings
    scripts/fuzz --replay findings/hnsw/main.hnsw@8.1f0c4c5d

Files are changed at random and then addressed as if they had always been so: hashes are right, parsers see them. Each
execution has a limit of memory and of time. A finding is anything but an answer or an error of `indexers.errors`: a
signal, a timeout, memory running out, another exception, an answer that is no number or names what does not exist, a
file that was made. Its bytes are kept in --out, from where --replay takes them. What was once found and is mended lies
in tests/faults/corpus, which the tests replay.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections import Counter
from pathlib import Path

os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "NESTVEC_THREADS": "1"}
# Others keep what was freed, and an execution is charged for the one before.
os.environ["ARROW_DEFAULT_MEMORY_POOL"] = "system"

import click

from tests.faults.bases import Base
from tests.faults.boxes import Run, fuzz, prepare, replay
from tests.faults.targets import TARGETS


def keep(run: Run, target: str, out: Path, seed: int) -> Path:
    """Write a finding, and beside it how it came about."""
    from blake3 import blake3

    folder = out / target
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{run.slot}.{blake3(run.data).hexdigest(length=4)}"
    path.write_bytes(run.data)
    path.with_name(path.name + ".txt").write_text(f"{target}:{seed}:{run.number}: {run.outcome}\n\n{run.detail}\n")
    return path


def fuzzed(
    base: Base, targets: list[str], seconds: float, most: int | None, seed: int, out: Path | None
) -> list[tuple[str, Counter[str], Counter[str]]]:
    """Fuzz some targets one after the other; return for each how often what came of it."""
    lines = []
    for name in targets:
        outcomes, findings = Counter[str](), Counter[str]()
        for run in fuzz(base, TARGETS[name], seed, seconds=seconds, most=most):
            outcomes["finding" if run.is_finding else run.outcome] += 1
            if run.is_finding:
                findings[run.outcome] += 1
                where = keep(run, name, out, seed) if out and findings[run.outcome] <= 3 else ""
                if findings[run.outcome] == 1:
                    click.echo(f"{name}:{seed}:{run.number} {run.slot}: {run.outcome} {where}")
        lines.append((name, outcomes, findings))
    return lines


def replayed(base: Base, paths: list[Path]) -> list[tuple[str, Counter[str], Counter[str]]]:
    """Replay files that lie in folders named by their targets."""
    lines = []
    for name in sorted({path.parent.name for path in paths}):
        files = sorted(path for path in paths if path.parent.name == name)
        outcomes, findings = Counter[str](), Counter[str]()
        kept = [(path.name.rpartition(".")[0], path.read_bytes()) for path in files]
        for run in replay(base, TARGETS[name], kept):
            outcomes["finding" if run.is_finding else run.outcome] += 1
            if run.is_finding:
                findings[run.outcome] += 1
                click.echo(f"{files[run.number]}: {run.outcome}\n{run.detail}")
            elif len(files) == 1:
                click.echo(f"{files[run.number]}: {run.outcome}")
        lines.append((name, outcomes, findings))
    return lines


@click.command(help=__doc__)
@click.option("--seconds", default=30.0, show_default=True, help="For each target.")
@click.option("--executions", type=int, help="For each target, if the time allows.")
@click.option("--target", "targets", multiple=True, type=click.Choice(list(TARGETS)), help="All if not given.")
@click.option("--seed", default=0, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), help="Folder for what is found.")
@click.option("--replay", "again", type=click.Path(exists=True, path_type=Path), help="A file, or a folder of them.")
def main(
    seconds: float, executions: int | None, targets: tuple[str, ...], seed: int, out: Path | None, again: Path | None
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        base = prepare(Path(folder))
        if again is not None:
            files = [again] if again.is_file() else [path for path in again.rglob("*") if path.is_file()]
            lines = replayed(base, [path for path in files if path.suffix not in (".txt", ".md")])
        else:
            lines = fuzzed(base, list(targets or TARGETS), seconds, executions, seed, out)
    click.echo(f"\n{'target':<12}{'executions':>11}{'answers':>9}{'refused':>9}{'findings':>9}   seed {seed}")
    for name, outcomes, findings in lines:
        total, answers, found = outcomes.total(), outcomes["answers"], outcomes["finding"]
        click.echo(f"{name:<12}{total:>11}{answers:>9}{total - answers - found:>9}{found:>9}")
        for what, often in findings.most_common():
            click.echo(f"    {often} × {what}")
    sys.exit(1 if any(findings for _, _, findings in lines) else 0)


if __name__ == "__main__":
    main()
