"""`nestvec info`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from engine.cli import options
from engine.cli.output import Name, human_bytes, line, named, print_json
from engine.cli.under import under_filters
from engine.storage.kinds import ALL_METADATA, JPEG
from engine.storage.names import path_name


@click.command()
@options.collection
@click.option("--failures", is_flag=True, help="List what could not be indexed, and why.")
@options.as_json
def command(collection: Path, failures: bool, as_json: bool) -> None:
    """Say what is in a collection: items, spaces with their encoders and heads, indexes, bytes, plans.

    \b
    Example:
        nestvec info photos.nest
        nestvec info photos.nest --failures
    """
    from engine.collection.describe import describe, list_failures

    if failures:
        # What lies in a file that is a source by itself is called by that file's name already.
        containers = {one["name"] for one in describe(collection)["sources"] if one["kind"] == "container"}
        for failure in list_failures(collection):
            if as_json:
                print_json({**failure, **named("path", failure["path"])})
            else:
                source = "" if failure["source"] in containers else f"{failure['source']}/"
                line(source, Name(failure["path"]), f": {failure['reason']}")
        return
    found = describe(collection)
    if as_json:
        print_json({**found, "sources": [_located(one) for one in found["sources"]]})
    else:
        print_info(found)


def print_info(found: dict[str, Any]) -> None:
    """Print a description as text."""
    line(f"{found['path']}  version {found['version']} ({found['operation']}, {found['created']})")
    line(f"items      {found['items']} ({found['deleted']} removed, {found['failures']} failed)")
    for source in found["sources"]:
        away = " (not there: was it moved, or is a drive away?)" if source["away"] else ""
        line(f"source     {source['name']}: {source['kind']} ", _where(source), away)
        for table in source["tables"]:
            line("           table ", _where(table), _columns(table))
        for wanted in _wanted(source):
            line(f"           {wanted}")
    if found["metadata"] != ALL_METADATA:
        line(f"metadata   {found['metadata']}")
    words = found["words"]
    of = ", ".join(words["columns"]) or "captions, paths and the usual columns"
    stem = f", stems of {words['stem']}" if words["stem"] else ""
    new = f", {words['unindexed']} items not built in" if words["unindexed"] else ""
    line(f"words      {_size(words)}  of {of}{stem}{new}")
    for name, space in found["spaces"].items():
        made_by = f"{space['objective']} head on {space['base']}" if space["base"] else space["encoder"]
        searched = " (searched by default)" if len(found["spaces"]) > 1 and name == found["default"] else ""
        line(f"space      {name}: {made_by}, {space['dim']} × {space['dtype']}{searched}")
        if space["untrained_prefixes"]:
            line("           its prefixes were not trained: they are arbitrary axes, and cost recall")
        line(f"vectors    {_size(space['vectors'])}")
        for index in space["indexes"]:
            line(f"index      {index['spec']:<40} {_size(index)}")
        line(f"unindexed  {space['unindexed']}")
        for plan in space["plans"]:
            recall = ", ".join(f"{kind} {value:.3f}" for kind, value in plan["recall"].items())
            line(f"plan       {plan['plan']}   recall@{plan['k']}: {recall} ({plan['queries']} queries each)")
        if space["tuning"]:
            _print_tuning(space["tuning"])
        if space["cutoff"]:
            _print_cutoff(space["cutoff"])
    line(f"on disk    {human_bytes(found['bytes'])}")


def _wanted(source: dict[str, Any]) -> Iterator[str]:
    """Say what of a source is passed over, where somebody asked for it."""
    for one in source["patterns"]:
        yield f"included {one[1:]}" if one.startswith("!") else f"excluded {one}"
    if source["min_size"]:
        yield f"passed over below {source['min_size']} pixels"
    if source["pairs"] != JPEG:
        yield f"of raw files and what they were developed to: {source['pairs']}"


def _where(stored: dict[str, Any]) -> Name:
    """Return where a source or table is, as the file system knows it; vectors of a program are nowhere."""
    location = stored["location"]
    return Name(path_name(location) if location.startswith("/") else location)


def _located(source: dict[str, Any]) -> dict[str, Any]:
    tables = [{**one, **named("location", _where(one).path)} for one in source["tables"]]
    return {**source, **named("location", _where(source).path), "tables": tables}


def _columns(table: dict[str, Any]) -> str:
    """Say what the columns of a table are called where that was said."""
    said = [(kind, table[f"{kind}_column"]) for kind in ("name", "caption") if table[f"{kind}_column"] is not None]
    return "".join(f", {kind} column {column}" for kind, column in said)


def _print_tuning(tuning: dict[str, Any]) -> None:
    fresh = ", ".join(f"{kind} {mean:.3f} ± {half:.3f}" for kind, (mean, half) in tuning["fresh"].items())
    line(f"tuned      for recall@{tuning['k']} {tuning['target']:g}; on fresh queries: {fresh}")
    for told in under_filters(tuning.get("filters") or {}):
        line(f"           {told}")
    if tuning["advice"]:
        line(f"           run `nestvec tune` again: {tuning['advice']}")


def _print_cutoff(cutoff: dict[str, Any]) -> None:
    kept = f"{cutoff['share']:.0%} of what is relevant ({cutoff['low']:.1%} to {cutoff['high']:.1%})"
    line(f"cut-off    keeps {kept}, by {cutoff['queries']:,} {cutoff['kind']}")


def _size(part: dict[str, Any] | None) -> str:
    if part is None:
        return "none yet"
    return f"{human_bytes(part['bytes']):>8}  {part['bytes_per_item']:8.1f} bytes an item"
