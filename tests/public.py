"""What is public, found by looking: the parts of every exported name, and the types in their signatures."""

from __future__ import annotations

import ast
import inspect
import sys
import typing
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import engine


def exported() -> dict[str, Any]:
    """Return the objects behind `engine.__all__`."""
    return {name: getattr(engine, name) for name in engine.__all__}


def ours(found: object) -> bool:
    return inspect.isclass(found) and found.__module__.split(".")[0] in ("engine", "indexers")


def callables_of(one: Any) -> Iterator[tuple[str, Callable[..., Any]]]:
    """Yield a function itself, or what a class offers: its constructor, methods and the getters of its properties."""
    if inspect.isfunction(one):
        yield one.__name__, one
    if not inspect.isclass(one) or issubclass(one, Exception):
        return
    for name, member in inspect.getmembers_static(one):
        plain = member.__func__ if isinstance(member, classmethod | staticmethod) else member
        plain = plain.fget if isinstance(plain, property) else plain
        # An overload of an operator is public; what Python itself wrote is not ours.
        if inspect.isfunction(plain) and (not name.startswith("_") or name in ("__init__", "__call__", "__getitem__")):
            yield f"{one.__name__}.{name}", plain


def types_in(one: Any) -> set[type]:
    """Return every class of ours in the signatures and fields of a public object."""
    hinted = [function for _, function in callables_of(one)]
    hinted += list(one.__mro__) if inspect.isclass(one) else []
    found: set[type] = {base for base in one.__mro__ if base.__module__ == "indexers.errors"} if ours(one) else set()
    for each in hinted:
        if ours(each) or inspect.isfunction(each):
            hints = typing.get_type_hints(each, globalns=_names(sys.modules[each.__module__]))
            for name, hint in hints.items():
                if not name.startswith("_"):
                    found |= set(_classes(hint))
    return found


def _classes(hint: Any) -> Iterator[type]:
    if ours(hint):
        yield hint
    for inner in typing.get_args(hint):
        yield from (part for one in (inner if isinstance(inner, list) else [inner]) for part in _classes(one))


def _names(module: ModuleType) -> dict[str, Any]:
    """Return a module's names with those that only a type checker imports."""
    names = dict(vars(module))
    for node in ast.parse(inspect.getsource(module)).body:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            exec(compile(ast.Module(node.body, []), "", "exec"), names)
    return names
