from typing import Any

def prune(
    codes: Any, norms: Any, n: int, whole: int, queries: Any, terms: Any, floors: Any, k: int, allowed: Any, level: int
) -> list[tuple[bytes, int]]: ...
