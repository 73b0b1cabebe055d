"""What scripts/quickstart does once there is an environment: index, search, look alike, draw."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from engine.api import Collection
from engine.cli.answer import print_answers
from engine.cli.output import Terminal, print_summary
from engine.cli.sheet import write_sheet
from engine.collection.originals import Originals
from engine.ingest.joined import TableOptions
from engine.jobs.index import RunOptions, index

SAMPLE = Path("data/sample")
OUT = Path("out")
TEXT = "a red bicycle"
PICTURE = SAMPLE / "photos" / "coffee.jpg"


def main() -> None:
    """Run the three uses of nestvec on the sample and say which commands do the same."""
    started = time.perf_counter()
    photos = OUT / "sample.nest"
    shutil.rmtree(photos, ignore_errors=True)
    OUT.mkdir(exist_ok=True)

    print(f"\n$ nestvec index {SAMPLE} {photos} --table {SAMPLE}/captions.csv")
    options = RunOptions(table=TableOptions(SAMPLE / "captions.csv"))
    print_summary(index(photos, [SAMPLE], options, Terminal()), as_json=False)

    with Collection.open(photos) as collection:
        print(f'\n$ nestvec search {photos} "{TEXT}" -k 5')
        by_text = collection.search(TEXT, k=5)
        print_answers([by_text], as_json=False)

        print(f"\n$ nestvec similar {photos} {PICTURE} -k 5")
        by_picture = collection.similar(PICTURE, k=5)
        print_answers([by_picture], as_json=False)
        originals = Originals(photos, collection.snapshot.manifest.sources)
        write_sheet(OUT / "answers.html", [by_text, by_picture], originals)
    print(f"\nwrote {OUT / 'answers.html'}; all of it took {time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
