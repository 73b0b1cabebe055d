"""XMP packets and IPTC records: their properties as texts.

Of XMP only what lies directly in a description counts: a region's own description is not the picture's. A packet with a
document type is refused before an entity of it is read, and nothing is ever fetched.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from xml.parsers import expat

MOST_PACKET = 1 << 20
MOST_VALUES = 4096
RDF, XML = "http://www.w3.org/1999/02/22-rdf-syntax-ns#", "http://www.w3.org/XML/1998/namespace"
LI, DESCRIPTION = f"{RDF} li", f"{RDF} Description"

Properties = dict[str, list[str]]
"""Values by namespace and name, with a space between them; the default of a text in several languages comes first."""


class _Refused(Exception):
    """A packet that no honest program writes."""


@dataclass
class _Reading:
    """What is known in the middle of a packet."""

    found: Properties = field(default_factory=dict)
    path: list[str] = field(default_factory=list)
    text: list[str] = field(default_factory=list)
    values: int = 0
    is_default: bool = False

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self.path.append(name)
        self.text = []
        if name == DESCRIPTION and self._depth() == 1:
            for key, value in attributes.items():
                self._say(key, value)
        self.is_default = attributes.get(f"{XML} lang", "").lower() == "x-default"

    def end(self, name: str) -> None:
        said, depth = "".join(self.text), self._depth()
        if depth == 2 and said.strip():
            self._say(name, said)
        elif depth == 4 and name == LI and said.strip():
            self._say(self.path[-3], said, first=self.is_default)
        self.text = []
        self.path.pop()

    def hear(self, text: str) -> None:
        self.text.append(text)

    def refuse(self, *_: object) -> None:
        raise _Refused

    def _depth(self) -> int:
        """Return how deep in RDF we are: 1 for a description, 2 for its properties; 0 where it is another's."""
        at = 1 if len(self.path) > 1 and self.path[0] != f"{RDF} RDF" else 0
        if self.path[at : at + 1] != [f"{RDF} RDF"] or self.path[at + 1 : at + 2] != [DESCRIPTION]:
            return 0
        return len(self.path) - at - 1

    def _say(self, name: str, value: str, *, first: bool = False) -> None:
        self.values += 1
        if self.values > MOST_VALUES:
            raise _Refused
        kept = self.found.setdefault(name, [])
        kept.insert(0 if first else len(kept), value.strip())


def read_packet(packet: bytes) -> Properties:
    """Return the properties of an XMP packet; none of one that is broken, too large, or has a document type."""
    wide = packet[:2] in (b"\xff\xfe", b"\xfe\xff")
    data = packet[:MOST_PACKET].decode("utf-16", "replace").encode() if wide else packet
    data = data.strip(b"\0 \t\r\n")
    if len(packet) > MOST_PACKET or not data:
        return {}
    reading, parser = _Reading(), expat.ParserCreate("utf-8" if wide else None, " ")
    parser.StartElementHandler, parser.EndElementHandler = reading.start, reading.end
    parser.CharacterDataHandler = reading.hear
    parser.StartDoctypeDeclHandler = reading.refuse
    parser.buffer_text = True
    try:
        parser.Parse(data, True)
    except (expat.ExpatError, LookupError, ValueError, _Refused):
        return {}
    return reading.found


def read_records(data: bytes) -> dict[int, list[bytes]]:
    """Return the values of an IPTC-IIM block's second record, by the number of their data set, and 90 of the first."""
    found: dict[int, list[bytes]] = {}
    at = data.find(b"\x1c")
    while at >= 0 and data[at : at + 1] == b"\x1c" and len(data) >= at + 5:
        record, number, size = data[at + 1], data[at + 2], int.from_bytes(data[at + 3 : at + 5], "big")
        at += 5
        if size & 0x8000:  # the size of the size
            wide = size & 0x7FFF
            size, at = int.from_bytes(data[at : at + min(wide, 8)], "big"), at + wide
        if record == 2 or (record, number) == (1, 90):
            found.setdefault(number, []).append(data[at : at + size])
        at += size
    return found
