"""python -m scripts.bench CASE …: measures, and writes the pages of docs/benchmarks."""

from __future__ import annotations

from importlib import import_module

import click

# Before NumPy is: it says how long NumPy's threads wait for work.
import indexers  # noqa: F401

# case → what its line in --help says. The module of the same name holds `main`.
CASES = {
    "data": "Make the frozen data sets and fill in the tables of their page.",
    "search": "The default plan on structured data: recall, latency, bytes.",
    "exact": "Exact search beside FAISS' scan.",
    "scale": "How cost grows with the rows, beside a grid of FAISS strings.",
    "adds": "One row at a time.",
    "cutoff": "How well it is told that nothing relevant is there.",
    "filters": "Searches under filters, beside FAISS with selectors.",
    "hybrid": "Words beside vectors, beside RRF; and BM25 beside other engines.",
    "feedback": "What marked answers are worth, beside what others make of them.",
    "tags": "Searches by tags, in the shape of BigANN's filter track.",
    "encode": "How fast pictures become vectors.",
    "gpu": "Search on a GPU beside FAISS' own indexes there.",
    "heads": "What each training objective buys.",
    "tune": "How long tuning takes, and whether its plans keep their recall.",
    "rivals": "nestvec beside other systems.",
    "paired": "The search of this checkout beside that of another, in turn.",
}


class Cases(click.Group):
    """Imports a case when it is run, so that none pays for another."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(CASES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in CASES:
            return None
        name = "rivals.compare" if cmd_name == "rivals" else cmd_name
        command: click.Command = import_module(f"scripts.bench.{name}").main
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Cases"):
            formatter.write_dl(list(CASES.items()))


@click.command(cls=Cases)
def main() -> None:
    """Measure one case, and write its page."""


if __name__ == "__main__":
    main()
