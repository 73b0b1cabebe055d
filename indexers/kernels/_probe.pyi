from collections.abc import Sequence
from typing import Any

class Cells:
    def __init__(
        self,
        matrix: Any,
        centroids: Any,
        books: Any,
        codes: Sequence[Any],
        ids: Sequence[Any],
        middle: Any,
        ranges: Any,
        stored: Any,
        shape: tuple[int, int, int, int, int, int, int, int],
        level: int,
    ) -> None: ...
    def search(
        self,
        xq: Any,
        k: int,
        nprobe: int,
        margin: float,
        middle: int,
        shortlist: int,
        allowed: Any,
        scores: Any,
        ids: Any,
        visited: Any,
    ) -> None: ...
