"""EXIF, XMP and IPTC as columns: from every kind of file, whatever is in them, and which of them counts."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from engine.ingest.metadata.blocks import CANON, MOST_BLOCK
from engine.ingest.metadata.columns import COLUMNS, WANTED, metadata_of
from engine.ingest.metadata.window import Window, opened_window
from tests.ingest import made_metadata as made
from tests.ingest.made_metadata import Entry, fractions, jpeg, raw, record, short, text, tiff, xmp

WHEN = text(0x9003, "2019:05:01 10:11:12")
PARIS = (
    text(1, "N"),
    fractions(2, (48, 1), (51, 1), (30, 1)),
    text(3, "E"),
    fractions(4, (2, 1), (17, 1), (0, 1)),
)
EXIF = tiff([text(0x10F, "Google"), text(0x110, "Pixel 7"), short(0x112, 6)], [WHEN], PARIS)
SAID = {
    "taken": datetime(2019, 5, 1, 10, 11, 12),
    "camera": "Google Pixel 7",
    "orientation": 6,
    "latitude": pytest.approx(48.858333333),
    "longitude": pytest.approx(2.283333333),
}
PACKET = xmp({"dc:subject": ["sea", "boat"], "xmp:Rating": "4"})
SPOKEN = {"keywords": ["sea", "boat"], "rating": 4}


def read(data: bytes) -> dict[str, Any]:
    return metadata_of(Window.of(data))


def exif(main: Sequence[Entry] = (), own: Sequence[Entry] = (), gps: Sequence[Entry] = ()) -> dict[str, Any]:
    return read(jpeg(tiff(main, own, gps)))


# -- where it lies ------------------------------------------------------------------------------


def test_a_jpeg() -> None:
    assert read(jpeg(EXIF, PACKET)) == SAID | SPOKEN
    assert read(jpeg(iptc=record(25, b"sea") + record(25, b"boat"))) == {"keywords": ["sea", "boat"]}


@pytest.mark.parametrize("order", ["<", ">"])
def test_both_orders_of_bytes(order: str) -> None:
    assert read(jpeg(tiff([short(0x112, 8, order=order)], [WHEN], order=order))) == {
        "taken": SAID["taken"],
        "orientation": 8,
    }


def test_a_png() -> None:
    chunks = [made.chunk(b"eXIf", EXIF), made.chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + PACKET)]
    assert read(made.png(*chunks)) == SAID | SPOKEN
    packed = made.chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(PACKET))
    assert read(made.png(packed)) == SPOKEN


def test_comments_of_a_png() -> None:
    chunks = [
        made.chunk(b"tEXt", b"Creation Time\0Wed, 01 May 2019 10:11:12 +0200"),
        made.chunk(b"zTXt", b"Description\0\0" + zlib.compress("caf\xe9".encode("latin-1"))),
        made.chunk(b"tEXt", b"Comment\0another"),
    ]
    assert read(made.png(*chunks)) == {"taken": SAID["taken"], "taken_zone": "+02:00", "description": "café"}
    assert read(made.png(made.chunk(b"iTXt", "Comment\0\0\0de\0\0Grüße".encode()))) == {"description": "Grüße"}


@pytest.mark.parametrize("name", ["exif", "APP1"])
def test_blocks_that_are_comments_of_a_png(name: str) -> None:
    block = b"Exif\0\0" + EXIF
    profile = f"\n{name}\n{len(block):8}\n{block.hex()}\n".encode()
    kind = made.chunk(b"zTXt", f"Raw profile type {name}\0\0".encode() + zlib.compress(profile))
    assert read(made.png(kind)) == SAID
    resources = made.resource(1028, record(25, b"sea"))
    iptc = f"\niptc\n{len(resources):8}\n{resources.hex()}\n".encode()
    assert read(made.png(made.chunk(b"tEXt", b"Raw profile type iptc\0" + iptc))) == {"keywords": ["sea"]}


@pytest.mark.parametrize("kind", ["WEBP", "AVIF", "HEIF"])
def test_what_pillow_writes(kind: str) -> None:
    upright = tiff([text(0x10F, "Google"), text(0x110, "Pixel 7")], [WHEN], PARIS)
    expected = {name: value for name, value in SAID.items() if name != "orientation"}
    assert read(made.saved(kind, exif=b"Exif\0\0" + upright, xmp=PACKET)) == expected | SPOKEN


def test_a_tiff_is_such_a_structure_itself() -> None:
    resources = made.resource(1028, record(120, b"by IPTC"))
    held = [text(0x110, "X100"), raw(0x02BC, PACKET), raw(0x8649, resources)]
    assert read(tiff(held, [WHEN])) == {"taken": SAID["taken"], "camera": "X100", "description": "by IPTC"} | SPOKEN
    assert read(tiff([raw(0x83BB, record(25, b"sea"))], order="<")) == {"keywords": ["sea"]}
    # Raw files have marks of their own in front of the same structure.
    assert read(b"IIRO" + tiff([text(0x110, "E-M1")], order="<")[4:]) == {"camera": "E-M1"}


def test_a_bigtiff() -> None:
    row = struct.pack("<HHQ8s", 0x110, 2, 5, b"X100\0")
    assert read(b"II+\0\x08\0\0\0" + struct.pack("<QQ", 16, 1) + row) == {"camera": "X100"}


def test_a_gif_and_a_photoshop_file() -> None:
    gif = made.saved("GIF")
    mark = b"\x21\xff\x0bXMP DataXMP" + PACKET + b"\x01" + bytes(range(255, -1, -1)) + b"\0"
    assert read(gif[:-1] + mark + gif[-1:]) == SPOKEN
    resources = made.resource(1061, b"odd", b"name") + made.resource(1060, PACKET) + made.resource(1058, EXIF)
    head = b"8BPS\0\1" + bytes(20) + struct.pack(">I", 0)
    assert read(head + struct.pack(">I", len(resources)) + resources) == SAID | SPOKEN


def test_jpeg_xl_jpeg_2000_and_cr3() -> None:
    jxl = made.box(b"JXL ", b"\r\n\x87\n") + made.box(b"ftyp", b"jxl \0\0\0\0jxl ")
    assert read(jxl + made.box(b"Exif", b"\0\0\0\0" + EXIF) + made.box(b"xml ", PACKET)) == SAID | SPOKEN
    assert read(jxl + made.box(b"Exif", EXIF)) == SAID  # as pillow-jxl-plugin has it
    packet = bytes.fromhex("be7acfcb97a942e89c71999491e3afac") + PACKET
    jp2 = made.box(b"jP  ", b"\r\n\x87\n") + made.box(b"uuid", packet) + made.box(b"uuid", b"JpgTiffExif->JP2" + EXIF)
    assert read(jp2) == SAID | SPOKEN
    blocks = (
        made.box(b"CMT1", tiff([text(0x110, "R5")])) + made.box(b"CMT2", tiff([WHEN])) + made.box(b"CMT4", tiff(PARIS))
    )
    cr3 = made.box(b"ftyp", b"crx \0\0\0\1") + made.box(b"moov", made.box(b"uuid", CANON + blocks))
    assert read(cr3) == {"camera": "R5", **{name: SAID[name] for name in ("taken", "latitude", "longitude")}}


def test_a_raw_file_of_fuji_has_a_jpeg() -> None:
    whole = jpeg(EXIF)
    assert read(b"FUJIFILMCCD-RAW ".ljust(84, b"\0") + struct.pack(">II", 200, len(whole)) + bytes(108) + whole) == SAID


def test_of_a_file_on_disk_only_the_blocks_are_read(tmp_path: Path) -> None:
    path = tmp_path / "large.jpg"
    path.write_bytes(jpeg(EXIF, PACKET) + bytes(8 << 20))
    asked = 0
    with opened_window(path) as window:

        def fetch(start: int, stop: int) -> bytes:
            nonlocal asked
            asked += stop - start
            return window.fetch(start, stop)

        assert metadata_of(Window(window.size, fetch)) == SAID | SPOKEN
    assert asked < 8192


def test_what_has_none_says_nothing() -> None:
    assert read(b"") == read(b"P6 1 1 255\n\0\0\0") == read(made.saved("JPEG")) == read(made.saved("PNG")) == {}


# -- values -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "said",
    [
        "0000:00:00 00:00:00",
        "2019:13:45",
        "2019:05:01 25:00:00",
        "    :  :     :  :  ",
        "",
        "2019",
        "tomorrow",
        "٢٠١٩:٠٥:٠١",
    ],
)
def test_dates_that_are_none(said: str) -> None:
    assert exif(own=[text(0x9003, said)]) == {}


@pytest.mark.parametrize(
    ("said", "taken"),
    [
        ("2019:05:01 10:11:12", datetime(2019, 5, 1, 10, 11, 12)),
        ("2019-05-01T10:11:12", datetime(2019, 5, 1, 10, 11, 12)),
        ("2019:05:01", datetime(2019, 5, 1)),
        ("2019:05:01 10:11", datetime(2019, 5, 1, 10, 11)),
        ("1826:01:01 00:00:00", datetime(1826, 1, 1)),
    ],
)
def test_dates(said: str, taken: datetime) -> None:
    assert exif(own=[text(0x9003, said)]) == {"taken": taken}


def test_parts_of_a_second_and_which_date_counts() -> None:
    original, digitized, changed = (
        text(0x9003, "2019:01:01 00:00:00"),
        text(0x9004, "2020:01:01 00:00:00"),
        text(0x132, "2021:01:01 00:00:00"),
    )
    assert exif([changed], [digitized, original, text(0x9291, "5")])["taken"] == datetime(2019, 1, 1, 0, 0, 0, 500_000)
    assert exif([changed], [digitized])["taken"].year == 2020
    assert exif([changed], [text(0x9003, "0000:00:00 00:00:00")])["taken"].year == 2021
    # When the file was changed is believed least.
    assert read(jpeg(tiff([changed]), xmp({"photoshop:DateCreated": "2018-01-01"})))["taken"].year == 2018


@pytest.mark.parametrize(
    ("said", "zone"),
    [("+02:00", "+02:00"), ("-0330", "-03:30"), ("Z", "+00:00"), ("+25:00", None), ("   :  ", None), ("CEST", None)],
)
def test_zones(said: str, zone: str | None) -> None:
    assert exif(own=[WHEN, text(0x9011, said)]).get("taken_zone") == zone


@pytest.mark.parametrize(
    ("clock", "zone"), [((8, 11, 12), "+02:00"), ((4, 26, 12), "+05:45"), ((8, 56, 12), None), ((8, 5, 0), None)]
)
def test_a_zone_by_the_clock_of_gps(clock: tuple[int, int, int], zone: str | None) -> None:
    gps = [fractions(7, *((one, 1) for one in clock)), text(0x1D, "2019:05:01")]
    found = exif(own=[WHEN], gps=gps)
    assert (found["taken"], found.get("taken_zone")) == (SAID["taken"], zone)
    assert exif(gps=gps) == {"taken": datetime(2019, 5, 1, *clock), "taken_zone": "+00:00"}


def test_a_zone_by_xmp() -> None:
    block = tiff(exif=[WHEN])
    same = xmp({"exif:DateTimeOriginal": "2019-05-01T10:11:12.5+02:00"})
    assert read(jpeg(block, same)) == {"taken": SAID["taken"], "taken_zone": "+02:00"}
    assert read(jpeg(block, xmp({"exif:DateTimeOriginal": "2018-05-01T10:11:12+02:00"}))) == {"taken": SAID["taken"]}


@pytest.mark.parametrize(
    ("make", "model", "camera"),
    [
        ("Google", "Pixel 7", "Google Pixel 7"),
        ("Canon", "Canon EOS 5D", "Canon EOS 5D"),
        ("NIKON CORPORATION", "NIKON D750", "NIKON D750"),
        ("SONY\0\0junk", "ILCE-7 ", "SONY ILCE-7"),
        ("", "X100", "X100"),
        ("Leica", "", "Leica"),
        ("  ", "", None),
    ],
)
def test_a_camera_names_its_maker_once(make: str, model: str, camera: str | None) -> None:
    assert exif([text(0x10F, make), text(0x110, model)]).get("camera") == camera


@pytest.mark.parametrize("value", [0, 9, 255, 65535])
def test_orientations_that_are_none(value: int) -> None:
    assert exif([short(0x112, value)]) == {}


def test_an_array_where_one_value_is_meant_and_a_type_that_is_not() -> None:
    assert exif([short(0x112, 3, 6, 8)]) == {"orientation": 3}
    assert exif([text(0x112, "6"), short(0x110, 6)]) == {}
    assert exif([fractions(0x112, (6, 1))]) == {"orientation": 6}


@pytest.mark.parametrize(
    "gps",
    [
        [],
        PARIS[:2],
        PARIS[1:],
        [text(1, "N"), fractions(2, (999, 1), (0, 1), (0, 1)), *PARIS[2:]],
        [text(1, "N"), fractions(2, (48, 0), (51, 1), (30, 1)), *PARIS[2:]],
        [text(1, "N"), fractions(2, (91, 1)), *PARIS[2:]],
        [text(1, "E"), *PARIS[1:]],
        [text(1, "N"), fractions(2, (0, 1), (0, 1), (0, 1)), text(3, "E"), fractions(4, (0, 1), (0, 1), (0, 1))],
    ],
)
def test_places_that_are_none(gps: list[Entry]) -> None:
    assert exif(gps=gps) == {}


def test_places() -> None:
    south = [text(1, "S"), fractions(2, (3385, 100), (0, 0), (0, 0)), text(3, "w"), fractions(4, (151, 1), (12, 1))]
    assert exif(gps=south) == {"latitude": pytest.approx(-33.85), "longitude": pytest.approx(-151.2)}
    below = exif(gps=[*PARIS, (5, 1, 1, b"\1"), fractions(6, (25, 2))])
    assert below["altitude"] == -12.5
    assert "altitude" not in exif(gps=[*PARIS, fractions(6, (25, 0))])


@pytest.mark.parametrize(("said", "rating"), [(5, 5), (0, 0), (6, None), (65535, None)])
def test_ratings_by_exif(said: int, rating: int | None) -> None:
    assert exif([short(0x4746, said)]).get("rating") == rating


@pytest.mark.parametrize(
    ("said", "rating"), [("-1", -1), ("5", 5), ("4.0", 4), ("7", None), ("good", None), ("-2", None)]
)
def test_ratings_by_xmp(said: str, rating: int | None) -> None:
    assert read(jpeg(xmp=xmp({"xmp:Rating": said}))).get("rating") == rating
    assert read(jpeg(xmp=xmp(attributes=f'xmp:Rating="{said}"'))).get("rating") == rating


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"plain", "plain"),
        ("Grüße".encode(), "Grüße"),
        ("Grüße".encode("cp1252"), "Grüße"),
        (b"cut\0off", "cut"),
        (b"\0\0", None),
        (b"   ", None),
        (b"bell\x07 \x1b[2J", "bell [2J"),
        ("\ud800".encode("utf-8", "surrogatepass"), "í\xa0€"),
    ],
)
def test_texts(data: bytes, said: str | None) -> None:
    assert exif([text(0x10E, data)]).get("description") == said


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"ASCII\0\0\0hello", "hello"),
        (b"\0" * 8 + "Grüße".encode(), "Grüße"),
        (b"UNICODE\0" + "Grüße".encode("utf-16-be"), "Grüße"),
        (b"UNICODE\0" + "Grüße".encode("utf-16-le"), "Grüße"),
        (b"UNICODE\0" + "Grüße".encode("utf-16"), "Grüße"),
        (b"UNICODE\0" + "写真".encode("utf-16-be"), "写真"),
        (b"JIS\0\0\0\0\0" + "写真".encode("iso2022_jp"), "写真"),
        (b"no prefix at all", "no prefix at all"),
        (b"UNICODE\0", None),
        (b"UNICODE\0\xd8", "\ufffd"),
        (b"ASCII\0\0\0" + b" " * 100, None),
    ],
)
def test_comments_in_any_charset(data: bytes, said: str | None) -> None:
    assert exif(own=[raw(0x9286, data)]).get("description") == said


def test_keywords_and_comments_of_windows() -> None:
    said = [raw(0x9C9E, "sea; Grüße;sea\0".encode("utf-16-le")), raw(0x9C9C, "nice\0".encode("utf-16-le"))]
    assert exif(said) == {"keywords": ["sea", "Grüße"], "description": "nice"}


def test_iptc() -> None:
    block = (
        record(90, b"\x1b%G", at=1)
        + record(0, b"\0\4")
        + record(25, "Grüße".encode())
        + record(25, "Gr\xfc\xdfe".encode("latin-1"))
        + record(55, b"20190501")
        + record(60, b"101112+0200")
        + record(120, b"a caption")
    )
    assert read(jpeg(iptc=block)) == {
        "taken": SAID["taken"],
        "taken_zone": "+02:00",
        "keywords": ["Grüße"],
        "description": "a caption",
    }


# -- XMP ----------------------------------------------------------------------------------------


def test_xmp_says_what_exif_does() -> None:
    packet = xmp(
        {
            "exif:DateTimeOriginal": "2019-05-01T10:11:12+02:00",
            "tiff:Make": "Google",
            "tiff:Model": "Pixel 7",
            "aux:Lens": "50mm",
            "tiff:Orientation": "6",
            "exif:GPSLatitude": "48,51.5N",
            "exif:GPSLongitude": "2,17,0W",
            "exif:GPSAltitude": "71/2",
        }
    )
    expected = {**SAID, "taken_zone": "+02:00", "lens": "50mm", "altitude": 35.5}
    assert read(jpeg(xmp=packet)) == expected | {"longitude": pytest.approx(-2.283333333)}


def test_of_several_languages_the_default_one() -> None:
    more = '<rdf:li xml:lang="de">Meer</rdf:li><rdf:li xml:lang="x-default">sea</rdf:li>'
    more = f"<dc:description><rdf:Alt>{more}</rdf:Alt></dc:description>"
    assert read(jpeg(xmp=xmp(more=more))) == {"description": "sea"}


def test_what_a_region_says_is_not_said_of_the_picture() -> None:
    inner = '<rdf:li><rdf:Description dc:description="a face"><dc:subject>x</dc:subject></rdf:Description></rdf:li>'
    more = f"<mwg:Regions><rdf:Bag>{inner}</rdf:Bag></mwg:Regions>"
    assert read(jpeg(xmp=xmp({"xmp:Rating": "3"}, more=more))) == {"rating": 3}


@pytest.mark.parametrize("coding", ["utf-8", "utf-16-le", "utf-16-be"])
def test_codings_of_packets(coding: str) -> None:
    packet = xmp({"dc:subject": ["Grüße"]}).decode()
    data = packet.encode() if coding == "utf-8" else ("\ufeff" + packet).encode(coding)
    assert read(jpeg(xmp=data)) == {"keywords": ["Grüße"]}


LAUGHS = '<!DOCTYPE l [<!ENTITY a "ha">' + "".join(
    f'<!ENTITY {chr(98 + n)} "{f"&{chr(97 + n)};" * 10}">' for n in range(9)
)


@pytest.mark.parametrize(
    "doctype",
    [
        LAUGHS + "]>",
        '<!DOCTYPE x [<!ENTITY j SYSTEM "file:///etc/hostname">]>',
        '<!DOCTYPE x SYSTEM "http://127.0.0.1:9/x">',
    ],
)
def test_no_packet_with_a_document_type_is_read(doctype: str) -> None:
    packet = xmp({"dc:description": "&j;"}).split(b"?>", 1)[1]
    assert read(jpeg(xmp=doctype.encode() + packet)) == {}


@pytest.mark.parametrize(
    "packet",
    [
        b"<",
        b"\0" * 100,
        PACKET[:-150],
        b"<?xml version='1.0' encoding='none-such'?>" + PACKET,
        b"<?xml version='1.0' encoding='idna'?>" + PACKET,
        b"<a>" * 20_000,
        b"\xff\xfe<\0",
        xmp({"dc:subject": ["x"] * 5000}),
    ],
)
def test_packets_that_say_nothing(packet: bytes) -> None:
    assert read(made.png(made.chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + packet))) == {}


def test_a_packet_that_is_too_large_says_nothing() -> None:
    data = xmp({"xmp:Rating": "4"}, more=f"<!--{' ' * MOST_BLOCK}-->")
    assert read(made.png(made.chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(data)))) == {}


# -- which of them counts -----------------------------------------------------------------------


def test_which_block_counts() -> None:
    block = tiff([text(0x110, "by EXIF"), text(0x10E, "by EXIF"), short(0x4746, 1)], [WHEN])
    packet = xmp(
        {"tiff:Model": "by XMP", "dc:description": "by XMP", "xmp:Rating": "2", "exif:DateTimeOriginal": "2001-01-01"}
    )
    iptc = record(120, b"by IPTC") + record(25, b"by IPTC") + record(55, b"20020101")
    assert read(jpeg(block, packet, iptc)) == {
        "taken": SAID["taken"],
        "camera": "by EXIF",
        "description": "by XMP",
        "rating": 2,
        "keywords": ["by IPTC"],
    }
    assert read(jpeg(block, None, iptc))["description"] == "by IPTC"
    assert read(jpeg(None, packet, iptc))["taken"].year == 2001
    # A block that is broken costs only itself.
    assert read(jpeg(block, b"<broken", iptc))["description"] == "by IPTC"
    assert read(jpeg(b"MM\0*\xff\xff\xff\xff", packet, iptc))["camera"] == "by XMP"


# -- whatever bytes -----------------------------------------------------------------------------

WHOLES = [
    jpeg(EXIF, PACKET, record(25, b"sea")),
    made.png(made.chunk(b"eXIf", EXIF), made.chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"x"))),
    made.saved("HEIF", exif=b"Exif\0\0" + EXIF, xmp=PACKET),
    made.saved("AVIF", exif=b"Exif\0\0" + EXIF, xmp=PACKET),
    made.saved("WEBP", exif=b"Exif\0\0" + EXIF, xmp=PACKET),
    tiff(
        [text(0x110, "X100"), raw(0x02BC, PACKET), raw(0x8649, made.resource(1028, record(25, b"sea")))], [WHEN], PARIS
    ),
]

values = st.one_of(
    st.binary(max_size=40),
    st.text(max_size=20).map(lambda one: one.encode("utf-16", "surrogatepass")),
    st.sampled_from([b"0000:00:00 00:00:00\0", b"2019:05:01 10:11:12\0", b"UNICODE\0\xd8\0", b"N\0", b"\0" * 24]),
    st.lists(st.integers(0, 2**32 - 1), max_size=6).map(lambda ints: struct.pack(f">{len(ints)}I", *ints)),
)
tags = st.sampled_from([*sorted(WANTED), 0x8769, 0x8825])
entries = st.builds(
    lambda tag, kind, data, claimed: (tag, kind, len(data) if claimed is None else claimed, data),
    tags,
    st.sampled_from([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 16, 129, 65535]),
    values,
    st.one_of(st.none(), st.integers(0, 2**32 - 1), st.integers(0, 12)),
)


def check_typed(found: dict[str, Any]) -> None:
    kinds = {
        "taken": datetime,
        "rating": int,
        "orientation": int,
        "keywords": list,
        "latitude": float,
        "longitude": float,
    }
    assert set(found) <= set(COLUMNS)
    for name, value in found.items():
        assert type(value) is kinds.get(name, float if name == "altitude" else str)
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, str):
                assert one == one.strip()
                assert one
                one.encode()
    assert abs(found.get("latitude", 0)) <= 90
    assert abs(found.get("longitude", 0)) <= 180


@settings(max_examples=400, deadline=None)
@given(st.lists(entries, max_size=8), st.lists(entries, max_size=8), st.lists(entries, max_size=8))
def test_exif_of_any_value(main: list[Entry], own: list[Entry], gps: list[Entry]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        named = [(tag, kind, count, data) for tag, kind, count, data in main if tag not in (0x8769, 0x8825)]
        check_typed(read(jpeg(tiff(named, own, gps))))


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_files_in_which_anything_is_broken(data: st.DataObject) -> None:
    whole = bytearray(data.draw(st.sampled_from(WHOLES)))
    for _ in range(data.draw(st.integers(1, 8))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    del whole[data.draw(st.integers(0, len(whole))) :]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_typed(read(bytes(whole)))


@pytest.mark.parametrize(
    "data",
    [
        b"\x89PNG\r\n\x1a\n" + bytes(1 << 20),
        b"RIFF\0\0\0\0WEBP" + bytes(1 << 20),
        b"\xff\xd8" + b"\xff\xe0\0\0" * (1 << 18),
        b"\xff\xd8" + b"\xff" * (1 << 20),
        made.box(b"ftyp", b"heic") + made.box(b"free", b"") * (1 << 17),
        b"8BPS\0\1" + bytes(20) + struct.pack(">II", 0, 1 << 20) + (b"8BIM\4\4" + bytes(6)) * (1 << 16),
        made.png(made.chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(100 << 20)))),
        b"II*\0\x08\0\0\0" + b"\xff\xff" + struct.pack("<HHII", 0x10E, 2, 1 << 20, 1 << 20) * 65535 + bytes(2 << 20),
    ],
    ids=["png", "webp", "jpeg", "fill", "boxes", "resources", "bomb", "tiff"],
)
def test_files_that_would_take_long_or_much(data: bytes) -> None:
    """Some milliseconds each, and no more bytes than a few times the bounds."""
    asked = 0

    def fetch(start: int, stop: int) -> bytes:
        nonlocal asked
        asked += 1
        return data[start:stop]

    assert metadata_of(Window(len(data), fetch)) == {}
    assert asked < 70_000 * 3


def test_pillow_reads_the_same() -> None:
    with Image.open(io.BytesIO(jpeg(EXIF))) as opened:
        own = opened.getexif()
        assert (own[0x10F], own[0x110], own[0x112]) == ("Google", "Pixel 7", 6)
        assert own.get_ifd(0x8769)[0x9003] == "2019:05:01 10:11:12"
        assert own.get_ifd(0x8825)[2] == (48, 51, 30)
