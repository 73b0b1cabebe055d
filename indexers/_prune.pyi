from typing import Any

def prune(
    codes: Any, norms: Any, n: int, queries: Any, terms: Any, floors: Any, k: int, allowed: Any
) -> list[tuple[bytes, int]]: ...
