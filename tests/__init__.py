"""Tests; helpers that assert are rewritten by pytest like tests are, so that they assert under `python -O` too."""

import pytest

pytest.register_assert_rewrite(
    "tests.helpers", "tests.faults", "tests.foreign", "tests.ingest.headed", "tests.query.export.made"
)
