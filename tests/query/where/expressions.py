"""Random filters over a table of every type, as SQL that DuckDB reads too."""

from __future__ import annotations

import datetime as dt
import random
from decimal import Decimal
from typing import Any

import pyarrow as pa

ROWS = 400
WORDS = ("red", "Red bicycle", "pixel 7", "Pixel 7 Pro", "a_b", "50%", "", "Ünïcode", "back\\slash", "it's", "zz")
PATTERNS = ("%", "", "P%", "%e%", "_ed", "%7%", "a\\_b", "50%", "%ö%", "%ic%cle", "%\\%", "r__%", "%'%")
DAYS = [dt.date(2019, 1, 1) + dt.timedelta(days=37 * number) for number in range(40)]
MOMENTS = [dt.datetime(2018, 12, 31, 22, 30, 5) + dt.timedelta(hours=711 * number) for number in range(40)]


def made(seed: int, *, rows: int = ROWS) -> pa.Table:
    """Return a table with nulls in every column."""
    draw = random.Random(seed)

    def column(kind: pa.DataType, values: Any) -> pa.Array:
        return pa.array([None if draw.random() < 0.2 else draw.choice(values) for _ in range(rows)], kind)

    return pa.table(
        {
            "stars": column(pa.int8(), range(-2, 6)),
            "n": column(pa.int64(), [-(2**62), -7, 0, 1, 2, 3, 2**60 + 7, 2**60 + 8]),
            "u": column(pa.uint64(), [0, 1, 2**63 + 5, 2**64 - 1]),
            "price": column(
                pa.decimal128(10, 2), [Decimal("0.10"), Decimal("1.25"), Decimal("-3.50"), Decimal("99.99")]
            ),
            "score": column(pa.float64(), [-1.5, 0.0, 0.1, 0.5, 2.0, 1e30]),
            "flag": column(pa.bool_(), [True, False]),
            "camera": column(pa.string(), WORDS),
            "day": column(pa.date32(), DAYS),
            "taken": column(pa.timestamp("us"), MOMENTS),
            "instant": column(pa.timestamp("ms", "UTC"), [one.replace(tzinfo=dt.UTC) for one in MOMENTS]),
            "tags": column(pa.list_(pa.string()), [["a"], ["a", "b"], [], ["b", None], [None], ["c", "c", "a"]]),
            "ints": column(pa.list_(pa.int32()), [[1], [1, 2], [], [2, None], [3, 1]]),
        }
    )


class Drawn:
    """Expressions, drawn one after the other."""

    def __init__(self, seed: int) -> None:
        self._draw = random.Random(seed)

    def expression(self, depth: int = 3) -> str:
        """Return a condition."""
        draw = self._draw
        if depth and draw.random() < 0.6:
            kind = draw.random()
            if kind < 0.25:
                return f"NOT ({self.expression(depth - 1)})"
            joint = " AND " if kind < 0.65 else " OR "
            return joint.join(f"({self.expression(depth - 1)})" for _ in range(draw.randint(2, 3)))
        return draw.choice(self._leaves)()

    @property
    def _leaves(self) -> list[Any]:
        return [
            *[self._number, self._text, self._time, self._day, self._instant, self._flag] * 2,
            *[self._null, self._in, self._between, self._list, self._columns, self._function, self._same],
        ]

    def _compared(self) -> str:
        return self._draw.choice(["=", "!=", "<>", "<", "<=", ">", ">="])

    def _numeric(self) -> tuple[str, str]:
        name = self._draw.choice(["stars", "n", "u", "price", "score"])
        values = {
            "stars": ["-3", "-2", "0", "2", "2.5", "5", "1000", "-1000"],
            "n": ["-7", "0", "2", str(2**60 + 7), "1.5", str(2**62)],
            "u": ["0", "1", str(2**63 + 5), "-1"],
            "price": ["0.1", "1.25", "1", "-3.5", "0.105", "99.99", "1000000"],
            "score": ["0", "-1.5", "0.5", "2", "3"],
        }
        return name, self._draw.choice(values[name])

    def _number(self) -> str:
        name, value = self._numeric()
        return (
            f"{name} {self._compared()} {value}" if self._draw.random() < 0.8 else f"{value} {self._compared()} {name}"
        )

    def _quoted(self, value: Any) -> str:
        return "'" + str(value).replace("'", "''") + "'"

    def _text(self) -> str:
        if self._draw.random() < 0.5:
            return f"camera {self._compared()} {self._quoted(self._draw.choice(WORDS))}"
        like = self._draw.choice(["LIKE", "ILIKE", "NOT LIKE", "NOT ILIKE"])
        escape = " ESCAPE '!'" if self._draw.random() < 0.2 else ""
        return f"camera {like} {self._quoted(self._draw.choice(PATTERNS))}{escape}"

    def _time(self) -> str:
        moment = self._draw.choice(MOMENTS) + dt.timedelta(microseconds=self._draw.choice([0, 0, 1]))
        return f"taken {self._compared()} {self._quoted(moment)}"

    def _day(self) -> str:
        return f"day {self._compared()} {self._quoted(self._draw.choice(DAYS))}"

    def _instant(self) -> str:
        zone = self._draw.choice(["+00:00", "+02:00", "-05:30"])
        return f"instant {self._compared()} {self._quoted(str(self._draw.choice(MOMENTS)) + zone)}"

    def _flag(self) -> str:
        return self._draw.choice(
            ["flag", "NOT flag", "flag = true", "flag IS TRUE", "flag IS NOT FALSE", "flag != false"]
        )

    def _null(self) -> str:
        name = self._draw.choice(["stars", "camera", "day", "tags", "flag", "price"])
        return f"{name} IS {self._draw.choice(['', 'NOT '])}NULL"

    def _in(self) -> str:
        nothing = ", NULL" if self._draw.random() < 0.2 else ""
        name = self._draw.choice(["camera", "stars", "day"])
        values: Any = {"camera": WORDS, "stars": range(-2, 6), "day": DAYS}[name]
        chosen = [self._draw.choice(values) for _ in range(self._draw.randint(1, 4))]
        written = ", ".join(str(one) if name == "stars" else self._quoted(one) for one in chosen)
        return f"{name} {self._draw.choice(['', 'NOT '])}IN ({written}{nothing})"

    def _between(self) -> str:
        name, low = self._numeric()
        high = self._numeric()[1]
        if name == "u":
            low, high = "1", str(2**63 + 5)
        return f"{name} {self._draw.choice(['', 'NOT '])}BETWEEN {low} AND {high}"

    def _list(self) -> str:
        return self._draw.choice(
            [
                "list_contains(tags, 'a')",
                "list_contains(tags, 'b')",
                "list_has_any(tags, ['b', 'c'])",
                "list_has_all(tags, ['a', 'b'])",
                "list_contains(ints, 1)",
                "list_has_any(ints, [2, 3])",
            ]
        )

    def _columns(self) -> str:
        pair = self._draw.choice(["stars {} n", "score {} stars", "day {} taken", "price {} score", "stars {} price"])
        return pair.format(self._compared())

    def _function(self) -> str:
        return self._draw.choice(
            [
                "year(taken) = 2019",
                "month(day) >= 6",
                "hour(taken) < 12",
                "lower(camera) = 'red bicycle'",
                "length(camera) > 4",
                "upper(camera) LIKE 'P%'",
                "day(day) <= 15",
            ]
        )

    def _same(self) -> str:
        name, value = self._numeric()
        how = self._draw.choice(["IS DISTINCT FROM", "IS NOT DISTINCT FROM"])
        return f"{name} {how} {self._draw.choice([value, 'NULL'])}"
