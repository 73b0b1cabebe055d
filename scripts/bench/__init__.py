"""The benchmarks, one module a case: `python -m scripts.bench CASE` from the root of the repository."""

from __future__ import annotations

from scripts import ROOT

DOCS = ROOT / "docs" / "benchmarks"
