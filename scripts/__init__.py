"""Verbs to run; `scripts.bench` measures, `scripts.bundled` rebuilds the shipped data."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
