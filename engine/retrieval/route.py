"""Which plan: the one that was named, the default, or one of the tuned curve, made to fit k, a prefix and the rows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from engine.collection.manifest import Space
from indexers.base import AXES, IndexSpec
from indexers.errors import InvalidInput, InvalidSpec
from indexers.families.base import Indexer
from indexers.families.registry import family
from indexers.names import did_you_mean
from indexers.plan import EXACT, SearchPlan, Stage

WIDEN = 4
"""How many times what a search looked at is looked at next, where it came back with too few answers."""


@dataclass(frozen=True)
class Routes:
    """The plans of a space, and what becomes of them.

    Example:
        >>> routes = engine.Collection.open("vectors.nest").searcher.routes
        >>> str(routes.fit(engine.SearchPlan.parse("flat@8 | 5@32"), k=20))
        'flat@8 | 20@32'

    Attributes:
        name: of the space.
        entry: its plans and its tuned curve.
        specs: the indexes that can be searched, by their key in a plan.
        rows: of the largest part that has indexes.
    """

    name: str
    entry: Space
    specs: Mapping[str, IndexSpec]
    rows: int

    @property
    def usual(self) -> SearchPlan:
        """The plan that is taken where none is named, as it was measured."""
        return self.entry.plans[0].plan if self.entry.plans else SearchPlan(EXACT)

    def default(self, k: int, dim: int) -> SearchPlan:
        """Return the plan for `k` answers by the first `dim` numbers, where none is named.

        Plans are measured for some k (10). For more answers shortlists grow in proportion, and
        probes with the square root: the k nearest rows spread over more cells the more they are.
        """
        plan = self.usual if dim == self.entry.dim else self._over_prefix(dim)
        return self._scaled(plan, k, self.entry.plans[0].k if self.entry.plans else k)

    def for_recall(self, recall: float, k: int) -> SearchPlan:
        """Return the fastest plan of the tuned curve that keeps a recall on every kind of query, for `k` answers.

        A recall of 1 is promised only by an exact search, whatever else found everything when it was measured.

        Raises:
            InvalidInput: the space was not tuned, or the recall is not between 0 and 1.
        """
        tuning = self.entry.tuning
        if tuning is None:
            raise InvalidInput(f"space {self.name!r} was not tuned: run `nestvec tune` first, or name a plan")
        if not 0 < recall <= 1:
            raise InvalidInput(f"recall: expected more than 0 and at most 1, found {recall}")
        kept = (point.plan for point in tuning.curve if min(point.recall.values()) >= recall and recall < 1)
        return self._scaled(next(kept, SearchPlan(EXACT)), k, tuning.k)

    def fit(self, plan: SearchPlan, k: int) -> SearchPlan:
        """Check a plan against the collection, lengthen shortlists shorter than k, and cut needless probes.

        Raises:
            InvalidSpec: an index or a stage the collection cannot have.
        """
        if plan.index == EXACT:
            return plan
        spec, indexer = self._spec(plan)
        if plan.stages[-1].dim > self.entry.dim or plan.stages[0].dim < spec.dim:
            raise InvalidSpec(f"plan {plan}: stages must lie between {spec.dim} and {self.entry.dim} dimensions")
        # FAISS sets aside memory for as many probes as it is told, also for those that cannot be made.
        probe = min(plan.probe, indexer.most_probes(spec, self.rows))
        return replace(plan, probe=probe).widened(k, 1)

    def wider(self, plan: SearchPlan, k: int) -> SearchPlan:
        """Return the plan to try after one that found too few rows; in the end an exact search."""
        if plan.stages[0].shortlist * WIDEN >= self.rows:
            return SearchPlan(EXACT)
        return self._with_probes(plan, WIDEN).widened(k, WIDEN)

    def last_dim(self, plan: SearchPlan, dim: int | None) -> int:
        """Return how many dimensions a plan's answers are scored by.

        Raises:
            InvalidInput: `dim` is given, and is not what the plan ends with.
        """
        last = plan.stages[-1].dim if plan.stages else None
        wanted = dim if dim is not None else last or self.entry.dim
        if not 1 <= wanted <= self.entry.dim or last not in (None, wanted):
            raise InvalidInput(
                f"cannot stop at {wanted} dimensions with plan {plan} on {self.entry.dim}-dimensional vectors"
            )
        return wanted

    def _scaled(self, plan: SearchPlan, k: int, measured: int) -> SearchPlan:
        """Return a plan that was measured for `measured` answers as it should be for k."""
        if plan.index == EXACT:
            return plan
        factor = max(1, math.ceil(k / measured))
        return self._with_probes(plan, math.sqrt(factor)).widened(k, factor)

    def _with_probes(self, plan: SearchPlan, factor: float) -> SearchPlan:
        """Return a plan with so many times the probes; one that a margin alone ends may visit all already."""
        if plan.margin and not plan.probe:
            return plan
        spec, indexer = self._spec(plan)
        probe = math.ceil((plan.probe or indexer.default_probe(spec)) * factor)
        return replace(plan, probe=min(probe, indexer.most_probes(spec, self.rows)))

    def _over_prefix(self, dim: int) -> SearchPlan:
        """Plan a search that stops at a prefix: the longest index within it, reranked at it."""
        below = [spec for spec in self.specs.values() if spec.dim <= dim and AXES not in dict(spec.params)]
        if not below:
            return SearchPlan(EXACT)
        usual = self.usual
        shortlist = usual.stages[0].shortlist if usual.stages else 100
        return SearchPlan(max(below, key=lambda spec: spec.dim).key, 0, (Stage(dim, shortlist),))

    def _spec(self, plan: SearchPlan) -> tuple[IndexSpec, Indexer]:
        spec = self.specs.get(plan.index)
        if spec is None:
            known = f"{', '.join(self.specs) or 'none yet'}{did_you_mean(plan.index, self.specs)}"
            raise InvalidSpec(f"no index {plan.index!r} in this collection; it has {known}")
        return spec, family(spec.family)
