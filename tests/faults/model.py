"""A collection beside a dictionary: whatever is done to one is done to the other, and they must agree.

`Machine` is a state machine for hypothesis. Its steps are every verb that changes a collection, crashes in the middle
of them, bits that flip, and rollbacks; after each the items, their vectors, their ids and the answers to searches are
compared with plain NumPy. `scripts/model` runs it for thousands of steps, `test_model` for some hundred.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from engine.api import Collection
from engine.collection.commit import current_version, read_version
from engine.collection.garbage import collect
from engine.collection.history import diff, numbers, rollback
from engine.collection.verify import verify
from engine.jobs.index import RunOptions
from engine.jobs.repair import repair
from engine.jobs.tune import FEWEST_ROWS, TuneOptions
from engine.progress import Silent
from engine.storage.verified import check_hash
from indexers.errors import CorruptCollection, NestvecError
from tests.faults.shim import KILL, POWER
from tests.faults.states import strangers
from tests.faults.zygote import Zygote
from tests.helpers import clustered, flip_bit, index
from tests.made_heads import fingerprint_of, rotation

DIM, SPACE, API = 8, "nested", "api"
NAMES = st.integers(0, 30)
SEEDS = st.integers(0, 2**16)
Item = tuple[str, str]
Items = dict[Item, bytes]


def row_of(seed: int) -> np.ndarray:
    """Return a unit float32 [D]."""
    row = np.random.default_rng(seed).normal(size=DIM).astype(np.float32)
    return (row / np.linalg.norm(row)).astype(np.float32)


def same(one: Items, other: Items) -> bool:
    """Whether items are the same, and their vectors but for rounding: they are normalised once more on the way in."""
    if one.keys() != other.keys():
        return False
    rows = [np.frombuffer(b"".join(items[key] for key in one), np.float32) for items in (one, other)]
    return bool(np.abs(rows[0] - rows[1]).max(initial=0) < 1e-6)


class Machine(RuleBasedStateMachine):
    """One collection, one dictionary.

    Attributes:
        rows: how many rows it begins with.
        steps: taken by all machines so far.
    """

    rows = 40
    steps: ClassVar[int] = 0
    zygote: Zygote

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="model-"))
        self.root = self.folder / "c.nest"
        self.items: Items = {}
        self.source: dict[str, np.ndarray] = {}
        self.past: dict[int, Items] = {}
        self.spaces: dict[int, bool] = {}
        self.ids: dict[Item, int] = {}
        self.retired = -1
        self.repaired = False  # older versions then may list what was damaged

    def teardown(self) -> None:
        """Close and delete everything."""
        if hasattr(self, "opened"):
            self.opened.close()
        shutil.rmtree(self.folder)

    # -- both sides ------------------------------------------------------------------------

    @initialize()
    def begin(self) -> None:
        """Index a file of vectors."""
        self.source = {f"row {i}": row for i, row in enumerate(clustered(self.rows, DIM))}
        self.write_source()
        index(self.root, self.file, dtype="float32")
        self.opened = Collection.open(self.root, device="cpu")
        self.items = self.with_source({})

    @property
    def file(self) -> Path:
        """The source."""
        return self.folder / "source.parquet"

    def write_source(self) -> None:
        """Write the source as it is in the model."""
        rows = np.array(list(self.source.values()), np.float32).reshape(-1, DIM)
        vectors = pa.FixedSizeListArray.from_arrays(pa.array(rows.reshape(-1)), DIM)
        pq.write_table(pa.table({"name": list(self.source), "vector": vectors}), self.file)

    def with_source(self, items: Items) -> Items:
        """Return items with those of the source as it is now, and no others of it."""
        others = {key: row for key, row in items.items() if key[0] != self.file.name}
        return others | {(self.file.name, name): row.tobytes() for name, row in self.source.items()}

    def crash(self, wanted: Items, at: int, how: str, *argv: str | Path) -> None:
        """Run a command that is stopped on the way; the collection is as before, as after, or part of the way."""
        outcome = self.zygote.run(self.root, *argv, at=at, how=how)
        assert outcome.status in (0, 1, 2, 3, -9), outcome.said
        assert "Traceback" not in outcome.said, outcome.said
        found = self.stored()[0]
        assert same(found, self.items) or same(found, wanted) or argv[0] == "index", outcome.said
        if not same(found, self.items) and not same(found, wanted):
            # The last shard is there, and what is gone from the source is not removed yet.
            assert same({key: found[key] for key in wanted}, wanted)
            assert same({key: row for key, row in found.items() if key not in wanted}, self.without(wanted))
        self.items = found

    def without(self, wanted: Items) -> Items:
        """Return the items that are no longer wanted."""
        return {key: row for key, row in self.items.items() if key not in wanted}

    def stored(self) -> tuple[Items, dict[Item, int], Items]:
        """Read the newest version: items with their vectors, their ids, and the vectors of the derived space."""
        self.opened.refresh()
        snapshot = self.opened.snapshot
        dead = set(snapshot.deleted.tolist())
        names: list[Item] = []
        for table in snapshot.item_tables(["source", "path"]):
            names += zip(table.column("source").to_pylist(), table.column("path").to_pylist(), strict=True)
        live = [at for at in range(len(names)) if at not in dead]
        assert len({names[at] for at in live}) == len(live), "an item that lives twice"
        found = []
        for space in ("main", SPACE):
            rows = [row for _, part in snapshot.stored_vectors(space) for row in part] if self.has(space) else []
            found.append({names[at]: rows[at].tobytes() for at in live} if rows else {})
        return found[0], {names[at]: int(snapshot.ids[at]) for at in live}, found[1]

    def has(self, space: str) -> bool:
        """Whether the open version has a space."""
        return space in self.opened.snapshot.manifest.spaces

    # -- what must hold after every step -----------------------------------------------------

    @invariant()
    def agrees(self) -> None:
        """Compare items, vectors and ids."""
        if not hasattr(self, "opened"):
            return
        Machine.steps += 1
        items, ids, derived = self.stored()
        assert same(items, self.items)
        if self.has(SPACE):
            assert set(derived) == set(items)
        assert len(set(ids.values())) == len(ids)
        new = [number for key, number in ids.items() if key not in self.ids]
        kept = set(self.ids.values())
        assert all(number > self.retired or number in kept for number in new), "an id that came back as another's"
        self.retired = max(self.retired, *ids.values(), -1) if ids else self.retired
        self.ids = ids
        self.past[self.opened.version] = dict(items)

    @rule(seed=SEEDS, k=st.integers(1, 12))
    def searches(self, seed: int, k: int) -> None:
        """Compare answers, exact ones and those by the default plan, with a product in double precision."""
        xq = row_of(seed)
        names = list(self.items)
        rows = np.array([np.frombuffer(self.items[name], np.float32) for name in names]).reshape(-1, DIM)
        scores = rows.astype(np.float64) @ xq
        best = -np.sort(-scores)[: min(k, len(names))]
        with Collection.open(self.root, device="cpu", space="main") as main:
            for exact in (True, False):
                answers = main.search(xq, k, exact=exact)
                assert len(answers.ids) == len(best)
                own = [scores[names.index((item.source, item.path))] for item in answers.items]
                np.testing.assert_allclose(answers.scores, own, atol=1e-5)
                if exact:
                    np.testing.assert_allclose(own, best, atol=1e-5)

    # -- what is done ------------------------------------------------------------------------

    @rule(names=st.lists(NAMES, min_size=1, max_size=6, unique=True), seed=SEEDS)
    def adds(self, names: list[int], seed: int) -> None:
        """Add vectors under names, some of which are there already."""
        rows = np.array([row_of(seed + i) for i in range(len(names))])
        self.opened.add_vectors(rows, names=[str(name) for name in names], source=API)
        self.items |= {(API, str(name)): row.tobytes() for name, row in zip(names, rows, strict=True)}

    @rule(data=st.data())
    def removes(self, data: st.DataObject) -> None:
        """Remove items by path."""
        paths = sorted({path for _, path in self.items})
        if paths:
            path = data.draw(st.sampled_from(paths))
            key = next(one for one in self.in_order() if one[1] == path)
            self.opened.remove([path])
            del self.items[key]

    def in_order(self) -> list[Item]:
        """Return the items' keys as `remove` looks for a path: by the order of sources."""
        order = [source.name for source in self.opened.snapshot.manifest.sources]
        return sorted(self.items, key=lambda key: order.index(key[0]))

    @rule(data=st.data(), seed=SEEDS, what=st.sampled_from(["new", "changed", "renamed", "gone"]))
    def edits_the_source(self, data: st.DataObject, seed: int, what: str) -> None:
        """Change the source; the collection hears of it with the next index."""
        if what == "new":
            self.source |= {f"new {seed + i}": row_of(seed + i) for i in range(3)}
        elif len(self.source) > 1:
            name = data.draw(st.sampled_from(sorted(self.source)))
            row = self.source[name]
            if what != "changed":
                del self.source[name]
            if what != "gone":
                self.source[name if what == "changed" else f"{name}'"] = row_of(seed) if what == "changed" else row
        self.write_source()

    @rule()
    def indexes(self) -> None:
        """Bring the collection in line with the source."""
        index(self.root, self.file, dtype="float32")
        self.items = self.with_source(self.items)

    @rule()
    def compacts(self) -> None:
        """Rewrite it."""
        self.opened.compact()

    @rule()
    def builds(self) -> None:
        """Build indexes anew."""
        self.opened.build(["flat@4"])

    @precondition(lambda self: not self.has(SPACE))
    @rule(seed=SEEDS)
    def applies_a_head(self, seed: int) -> None:
        """Add a derived space."""
        path = self.folder / "head.safetensors"
        path.write_bytes(rotation(fingerprint_of(self.root), seed=seed).to_bytes())
        self.opened.apply_head(path, SPACE)

    @precondition(lambda self: self.has(SPACE))
    @rule()
    def removes_a_space(self) -> None:
        """Take it out."""
        self.opened.remove_space(SPACE)

    @precondition(lambda self: len(self.items) >= FEWEST_ROWS)
    @rule()
    def tunes(self) -> None:
        """Find a plan."""
        self.opened.tune(TuneOptions(recall=0.9))

    @rule()
    def collects(self) -> None:
        """Delete every version but the newest, and every file that it does not list."""
        self.opened.refresh()
        collect(self.root, older_than=timedelta(0))
        assert strangers(self.root) == set()

    @rule(data=st.data())
    def rolls_back(self, data: st.DataObject) -> None:
        """Go back to a version that was seen and is kept."""
        kept = [number for number in numbers(self.root) if number in self.past]
        number = data.draw(st.sampled_from(kept))
        try:
            rollback(self.root, number)
        except CorruptCollection:
            assert self.is_broken(number)
            return
        before, self.items = self.items, dict(self.past[number])
        changes = diff(self.root, numbers(self.root)[-2]) if not same(before, self.items) and len(kept) > 1 else []
        added = {(one.source, one.path) for one in changes if one.kind == "added"}
        assert added <= set(self.items)
        # What was handed out since stays handed out; what is back has the ids it had.
        self.opened.refresh()
        self.ids = self.stored()[1]

    def is_broken(self, number: int) -> bool:
        """Whether a version lists a file that is damaged: one that was repaired while this had it open stays."""
        try:
            for ref in read_version(self.root, number).files():
                check_hash(self.root, ref)
        except CorruptCollection:
            return True
        return False

    @rule(data=st.data(), at=st.integers(0, 30), how=st.sampled_from([KILL, POWER]))
    def is_cut_short(self, data: st.DataObject, at: int, how: str) -> None:
        """Stop a command on the way."""
        verb = data.draw(st.sampled_from(["index", "compact", "gc", "remove"]))
        if verb == "index":
            self.crash(self.with_source(self.items), at, how, "index", self.file, self.root)
        elif verb == "remove" and self.items:
            key = self.in_order()[0]
            wanted = {name: row for name, row in self.items.items() if name != key}
            self.crash(wanted, at, how, "remove", self.root, key[1])
        elif verb != "remove":
            self.crash(self.items, at, how, verb, self.root, *(("--older-than", "0") if verb == "gc" else ()))

    @rule(data=st.data(), bit=st.integers(0, 7), at=SEEDS)
    def is_damaged_and_repaired(self, data: st.DataObject, bit: int, at: int) -> None:
        """Flip a bit of something that is derived: it is named, refused or not needed, and put right."""
        self.opened.refresh()
        manifest = self.opened.snapshot.manifest
        derived = [ref for ref in manifest.files() if ref.path.split("/")[-2] in ("lookup", "vectors", "indexes")]
        if not derived:
            return
        ref = data.draw(st.sampled_from(derived))
        flip_bit(self.root / ref.path, at, bit)
        assert ref.path in {problem.path for problem in verify(self.root)}
        try:
            self.searches(at, 5)
        except CorruptCollection as error:
            assert Path(ref.path).name in str(error)
        done = repair(self.root, RunOptions(device="cpu"), Silent())
        assert done.lost == []
        self.repaired = True

    @rule()
    def is_whole(self) -> None:
        """Check every file."""
        problems = [one for one in verify(self.root) if not (self.repaired and one.path.startswith("versions/"))]
        assert problems == []
        assert current_version(self.root) == max(numbers(self.root))

    @rule(where=st.sampled_from(["path", "k", "vector"]))
    def refuses(self, where: str) -> None:
        """Ask for what cannot be; nothing changes."""
        wrong: dict[str, Callable[[], Any]] = {
            "path": lambda: self.opened.remove(["no such item"]),
            "k": lambda: self.opened.search(row_of(0), 0),
            "vector": lambda: self.opened.search(np.full(DIM, np.nan), 3),
        }
        try:
            wrong[where]()
        except NestvecError:
            return
        raise AssertionError(f"{where} was not refused")


class LargeMachine(Machine):
    """The same with rows enough to be tuned."""

    rows = FEWEST_ROWS + 60
