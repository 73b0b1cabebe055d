"""Files in the formats of TREC: topics, judgements (qrels), runs."""

from __future__ import annotations

import contextlib
import math
import os
import re
from collections.abc import Iterator
from pathlib import Path

from engine.evaluation.graded import Qrels, Run, ranked
from engine.storage.regular import read_regular
from indexers.errors import InvalidInput, SourceError

# A document is a path and may have spaces; what stands before and after it may not.
_QREL = re.compile(r"(\S+)\s+(\S+)\s+(\S.*?)\s+(-?[0-9]{1,9})")
_RUN = re.compile(r"(\S+)\s+(\S+)\s+(\S.*?)\s+(\S+)\s+(\S+)\s+(\S+)")
TAG = "nestvec"
MOST_BYTES = 1 << 30


def read_topics(path: Path) -> dict[str, str]:
    """Read topics, `qid<TAB>text` a line: texts by query id, in the file's order.

    Raises:
        SourceError: it cannot be read, a line is no topic, or an id comes twice.
    """
    topics: dict[str, str] = {}
    for where, line in _lines(path):
        query, tab, text = line.partition("\t")
        if not tab or not query.strip() or not text.strip():
            raise SourceError(f"{where}: expected a query id, a tab and a text, found {line!r}")
        if query.strip() in topics:
            raise SourceError(f"{where}: topic {query.strip()!r} is there already; ids must be unique")
        topics[query.strip()] = text.strip()
    if not topics:
        raise SourceError(f"{path} has no topics: expected lines of a query id, a tab and a text")
    return topics


def read_texts(path: Path) -> list[str]:
    """Read query texts, one a line; blank lines are passed over.

    Raises:
        SourceError: it cannot be read, or has none.
    """
    texts = [line.strip() for _, line in _lines(path)]
    if not texts:
        raise SourceError(f"{path} has no texts: expected one a line")
    return texts


def read_qrels(path: Path) -> dict[str, dict[str, int]]:
    """Read judgements, `qid 0 docno grade` a line.

    Raises:
        SourceError: it cannot be read, a line is no judgement, or a document is judged twice for a query.
    """
    qrels: dict[str, dict[str, int]] = {}
    for where, line in _lines(path):
        match = _QREL.fullmatch(line.strip())
        if match is None:
            raise SourceError(f"{where}: expected `qid 0 docno grade` with a whole number as grade, found {line!r}")
        query, _, document, grade = match.groups()
        if document in qrels.setdefault(query, {}):
            raise SourceError(f"{where}: {document!r} is judged twice for query {query!r}")
        qrels[query][document] = int(grade)
    if not qrels:
        raise SourceError(f"{path} has no judgements: expected lines of `qid 0 docno grade`")
    return qrels


def read_run(path: Path) -> dict[str, dict[str, float]]:
    """Read a run, `qid Q0 docno rank score tag` a line; like trec_eval it goes by the scores, not by the ranks.

    Raises:
        SourceError: it cannot be read, a line is no answer, or a document comes twice for a query.
    """
    run: dict[str, dict[str, float]] = {}
    for where, line in _lines(path):
        match = _RUN.fullmatch(line.strip())
        score = _number(match[5]) if match else None
        if match is None or score is None:
            raise SourceError(f"{where}: expected `qid Q0 docno rank score tag` with a finite score, found {line!r}")
        query, document = match[1], match[3]
        if document in run.setdefault(query, {}):
            raise SourceError(f"{where}: {document!r} is answered twice for query {query!r}")
        run[query][document] = score
    if not run:
        raise SourceError(f"{path} has no answers: expected lines of `qid Q0 docno rank score tag`")
    return run


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    """Yield file:line and text of the lines that are not blank."""
    try:
        # By line feeds alone: a text may have what str.splitlines takes for the end of a line.
        text = read_regular(path, most=MOST_BYTES).decode("utf-8-sig")
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SourceError(f"{path} is not a UTF-8 text: {error}") from error
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield f"{path}:{number}", line.rstrip("\r")


def run_file(folder: Path, representation: str, dim: int) -> Path:
    """Return where the run of a representation and prefix is written."""
    return folder / f"{re.sub(r'[^A-Za-z0-9._-]', '-', representation)}-{dim}.run"


def write_run(path: Path, run: Run) -> None:
    """Write a run; a file of that name is replaced in one step, or not at all.

    Scores have the nine digits that give a 32-bit number back, and ranks are in trec_eval's order.

    Raises:
        InvalidInput: a name has white space in it, which other programs would take for the end of it.
        SourceError: it cannot be written.
    """
    temporary = path.with_name(f".tmp-{os.getpid()}-{path.name}")
    lines = []
    for query, scores in run.items():
        for rank, document in enumerate(ranked(scores), start=1):
            if re.search(r"\s", document):
                raise InvalidInput(f"{document!r} has white space and cannot stand in a run; judge items by their ids")
            lines.append(f"{query} Q0 {document} {rank} {scores[document]:.9g} {TAG}\n")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text("".join(lines), encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        raise SourceError(f"{path} cannot be written: {error.strerror}") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def common(topics: dict[str, str], qrels: Qrels, where: str) -> list[str]:
    """Return the topics that are judged.

    Raises:
        InvalidInput: none is.
    """
    found = [query for query in topics if query in qrels]
    if not found:
        raise InvalidInput(
            f"{where}: no topic is judged: topics are called {next(iter(topics))!r}, …, "
            f"and the judgements speak of {next(iter(qrels))!r}, …"
        )
    return found
