"""Pictures that lie in Parquet, tar and zip files: listed with what is said of them there, and never unpacked."""

from __future__ import annotations

import io
import json
import os
import tarfile
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from engine.collection.cells import is_nothing, value_of
from engine.collection.manifest import Source, SourceTable
from engine.ingest.containers import ContainerListing, Containers, is_container, is_of_containers
from engine.ingest.entries import Entry, read_file
from engine.ingest.folders import Folder
from engine.ingest.joined import TableOptions
from engine.ingest.sources import open_sources
from engine.ingest.tables import JoinedTables, LabelTable
from indexers.errors import PictureError, SourceError

STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def picture(number: int) -> bytes:
    """Return a small PNG of one colour."""
    out = io.BytesIO()
    Image.new("RGB", (8, 8), (number, 255 - number, 77)).save(out, "PNG")
    return out.getvalue()


def tar(path: Path, members: Iterable[tuple[str, bytes]], format: int = tarfile.PAX_FORMAT) -> Path:
    """Write a tar file."""
    with tarfile.open(path, "w", format=format) as out:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            out.addfile(info, io.BytesIO(data))
    return path


def parquet(path: Path, pictures: Sequence[Any], kind: pa.DataType = STRUCT, *, rows: int = 3, **columns: Any) -> Path:
    """Write a Parquet file with a column of pictures and others."""
    table = pa.table({"image": pa.array(pictures, kind), **columns})
    pq.write_table(table, path, row_group_size=rows)
    return path


def listed(path: Path, **how: Any) -> list[Entry]:
    return list(ContainerListing(Source("s", "container", str(path)), path, **how).entries())


def said(entries: Iterable[Entry]) -> dict[str, tuple[str | None, dict[str, Any]]]:
    said = [(one, {name: value_of(cell) for name, cell in one.meta.items() if not is_nothing(cell)}) for one in entries]
    return {one.path: (one.caption, meta) for one, meta in said if one.problem is None}


def problems(entries: Iterable[Entry]) -> dict[str, str]:
    return {one.path: one.problem for one in entries if one.problem is not None}


def all_bytes(entries: Iterable[Entry]) -> list[bytes]:
    return [read_file(one) for one in entries]


# -- tar ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_samples_of_a_tar_have_captions_and_columns(tmp_path: Path, format: int) -> None:
    columns = {"key": "000", "width": 8, "sharp": True, "share": 0.5, "exif": {"a": 1}, "none": None, "caption": "json"}
    folder = "a folder whose name is long/" * 4
    path = tar(
        tmp_path / "x.tar",
        [
            ("000.png", picture(0)),
            ("000.txt", b" a red\n bicycle "),
            ("000.json", json.dumps(columns).encode()),
            ("./001.png", picture(1)),
            ("001.json", b'{"caption": "a lake", "n": 3}'),
            ("001.cls", b"7"),
            (f"{folder}002.seg.png", picture(2)),
            (f"{folder}002.caption", b"a wood"),
            ("notes.md", b"nothing"),
            ("unnamed", picture(3)),
        ],
        format,
    )
    found = listed(path)
    assert said(found) == {
        "x.tar/000.png": ("a red bicycle", {"key": "000", "width": 8, "sharp": True, "share": 0.5}),
        "x.tar/001.png": ("a lake", {"n": 3, "cls": 7}),
        f"x.tar/{folder}002.seg.png": ("a wood", {}),
        "x.tar/unnamed": (None, {}),
    }
    assert all_bytes(found) == [picture(n) for n in range(4)]
    assert [one.size for one in found] == [len(picture(n)) for n in range(4)]
    assert {one.mtime_ns for one in found} == {path.stat().st_mtime_ns}


@pytest.mark.parametrize("format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_a_name_of_any_length_and_any_bytes_is_read(tmp_path: Path, format: int) -> None:
    names = ["n" * 300 + ".png", "grün 100%.png", os.fsdecode(b"caf\xe9.png")]
    found = listed(tar(tmp_path / "x.tar", [(name, picture(1)) for name in names], format))
    assert [one.path for one in found] == ["x.tar/" + names[0], "x.tar/grün 100%.png", "x.tar/caf%E9.png"]
    assert all_bytes(found) == [picture(1)] * 3


def test_texts_of_other_pictures_are_none_of_a_picture(tmp_path: Path) -> None:
    path = tar(tmp_path / "x.tar", [("IMG.1.png", picture(1)), ("IMG.2.txt", b"two"), ("IMG.1.txt", b"one")])
    assert said(listed(path)) == {"x.tar/IMG.1.png": ("one", {})}


def test_a_caption_is_in_any_coding_as_beside_a_file(tmp_path: Path) -> None:
    members = [("0.jpg", picture(0)), ("0.txt", "gr\u00fc\u00dfe aus k\u00f6ln".encode("utf-16"))]
    assert said(listed(tar(tmp_path / "t.tar", members)))["t.tar/0.jpg"][0] == "gr\u00fc\u00dfe aus k\u00f6ln"


def test_texts_may_come_long_after_their_pictures(tmp_path: Path) -> None:
    members = [(f"{n}.png", picture(n)) for n in range(3)] + [(f"{n}.txt", b"%d" % n) for n in range(3)]
    assert [one.caption for one in listed(tar(tmp_path / "x.tar", members))] == ["0", "1", "2"]


def test_what_no_program_keeps_pictures_in_is_passed_over(tmp_path: Path) -> None:
    names = ["__MACOSX/._a.png", ".hidden/a.png", "b/.c.png", "a.png"]
    assert list(said(listed(tar(tmp_path / "x.tar", [(name, picture(1)) for name in names])))) == ["x.tar/a.png"]


def test_bad_members_cost_a_failure_each(tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w") as out:
        for name in ("/etc/a.png", "../b.png", "c/../../d.png", "good.png", "good.png"):
            info = tarfile.TarInfo(name)
            info.size = len(picture(1))
            out.addfile(info, io.BytesIO(picture(1)))
        for name, kind in (("link.png", tarfile.SYMTYPE), ("hard.png", tarfile.LNKTYPE), ("zero.png", tarfile.CHRTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            out.addfile(info)
        info = tarfile.TarInfo("good.json")
        info.size = 4
        out.addfile(info, io.BytesIO(b"{no}"))
    found = listed(path)
    assert list(said(found)) == ["x.tar/good.png"]
    assert {one: why.partition(",")[0].partition(":")[0] for one, why in problems(found).items()} == {
        "x.tar/good.png#1": "another member before it has the same name",
        "x.tar//etc/a.png": "has a name that leads out of the file it is in",
        "x.tar/../b.png": "has a name that leads out of the file it is in",
        "x.tar/c/../../d.png": "has a name that leads out of the file it is in",
        "x.tar/link.png": "is a link",
        "x.tar/hard.png": "is a link",
        "x.tar/zero.png": "is a device and no regular file",
        "x.tar/good.json": "is no JSON",
    }
    assert sorted(os.listdir(tmp_path)) == ["x.tar"]


def test_a_sparse_member_is_refused_and_what_comes_after_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    sparse = tarfile.TarInfo("a.png")
    sparse.type, sparse.size = tarfile.GNUTYPE_SPARSE, 512
    pax = tarfile.TarInfo("b.png")
    pax.pax_headers = {"GNU.sparse.major": "1"}
    with tarfile.open(path, "w") as out:
        out.addfile(sparse, io.BytesIO(bytes(512)))
        out.addfile(pax)
        after = tarfile.TarInfo("c.png")
        after.size = len(picture(1))
        out.addfile(after, io.BytesIO(picture(1)))
    found = listed(path)
    assert list(said(found)) == ["x.tar/c.png"]
    assert set(problems(found)) == {"x.tar/a.png", "x.tar/b.png"}


@pytest.mark.parametrize("cut", [100, 700, 1100, -100, -1024 * 9])
def test_a_tar_that_is_cut_off_gives_what_it_has_and_says_so_once(tmp_path: Path, cut: int) -> None:
    path = tar(tmp_path / "x.tar", [("a.png", picture(1)), ("b.png", picture(2))])
    data = path.read_bytes()
    path.write_bytes(data[:cut] if cut > 0 else data.rstrip(b"\0")[: len(data) + cut])
    found = listed(path)
    assert [one.path for one in found if one.unread] == ["x.tar"]
    assert all_bytes(one for one in found if not one.unread) == [picture(1), picture(2)][: len(found) - 1]


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "it has no end"),
        (b"\x1f\x8b" + bytes(600), "compressed as a whole (gzip)"),
        (b"no tar" * 200, "no header"),
    ],
)
def test_what_is_no_tar_is_one_failure(tmp_path: Path, data: bytes, why: str) -> None:
    path = tmp_path / "x.tar"
    path.write_bytes(data)
    [found] = listed(path)
    assert found.unread
    assert why in str(found.problem)


@pytest.mark.parametrize("size", [1 << 40, -1, (1 << 87) - 1])
@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME, b"Z"])
def test_a_size_that_cannot_be_is_found_out_before_anything_is_read(tmp_path: Path, size: int, kind: bytes) -> None:
    info = tarfile.TarInfo("a.png")
    info.type, info.size = kind, size
    path = tmp_path / "x.tar"
    path.write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(1024))
    [found] = listed(path)
    assert found.unread
    assert "x.tar" in found.path


def test_a_long_row_of_extended_headers_is_walked_and_not_gone_into(tmp_path: Path) -> None:
    one = tarfile.TarInfo("././@LongLink")
    one.type, one.size = tarfile.GNUTYPE_LONGNAME, 6
    block = one.tobuf(tarfile.GNU_FORMAT) + b"a.png\0".ljust(512, b"\0")
    last = tarfile.TarInfo("b.png")
    path = tmp_path / "x.tar"
    path.write_bytes(block * 20_000 + last.tobuf(tarfile.GNU_FORMAT) + bytes(1024))
    assert list(said(listed(path))) == ["x.tar/a.png"]


def test_an_extended_header_of_megabytes_is_not_read(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w", format=tarfile.PAX_FORMAT) as out:
        for name, more in (("a.png", {"comment": "x" * (2 << 20)}), ("b.png", {})):
            info = tarfile.TarInfo(name)
            info.pax_headers, info.size = more, len(picture(1))
            out.addfile(info, io.BytesIO(picture(1)))
    found = listed(tmp_path / "x.tar")
    assert list(said(found)) == ["x.tar/b.png"]
    assert "extended header" in problems(found)["x.tar/a.png"]


def test_what_has_changed_since_it_was_listed_is_not_read(tmp_path: Path) -> None:
    path = tar(tmp_path / "x.tar", [("a.png", picture(1))])
    [found] = listed(path)
    tar(path, [("b.png", picture(2)), ("a.png", picture(1))])
    with pytest.raises(OSError, match="has changed"):
        read_file(found)


# -- zip ---------------------------------------------------------------------------------------


def test_members_of_a_zip_are_read_stored_and_deflated(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as out:
        for number, how in enumerate((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2)):
            out.writestr(f"d/{number}.png", picture(number), how)
            out.writestr(f"d/{number}.txt", f"of {number}", zipfile.ZIP_DEFLATED)
    found = listed(tmp_path / "x.zip")
    assert said(found) == {"x.zip/d/0.png": ("of 0", {}), "x.zip/d/1.png": ("of 1", {})}
    assert all_bytes(one for one in found if one.problem is None) == [picture(0), picture(1)]
    assert "method (12)" in problems(found)["x.zip/d/2.png"]


def test_a_zip_that_lies_about_its_members_is_found_out(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        out.writestr("a.png", bytes(1 << 20))
    data = path.read_bytes()
    central = data.rindex(b"PK\x01\x02")
    for size in (100, 2 << 20, 0xFFFFFFF0):
        path.write_bytes(data[: central + 24] + size.to_bytes(4, "little") + data[central + 28 :])
        [found] = listed(path)
        with pytest.raises(PictureError, match=r"is not what the zip file says|at most"):
            read_file(found)
    path.write_bytes(data[: central + 8] + b"\x01\0" + data[central + 10 :])
    [found] = listed(path)
    assert "encrypted" in str(found.problem)


def test_members_that_lie_in_each_other_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as out:
        out.writestr("a.png", picture(1))
        out.filelist.append(out.filelist[0])
    assert [("lies in another" in str(one.problem)) for one in listed(path)].count(True) >= 1
    path.write_bytes(b"PK" * 100)
    [found] = listed(path)
    assert found.unread


# -- Parquet -----------------------------------------------------------------------------------


def test_rows_have_names_captions_and_columns(tmp_path: Path) -> None:
    rows = [
        {"bytes": picture(n), "path": name} for n, name in enumerate(["a.png", None, "a.png", "/x/b.png", "2", "3"])
    ]
    path = parquet(
        tmp_path / "t.parquet",
        rows,
        label=pa.array([5, 4, 3, 2, 1, None], pa.int64()),
        text=["zero", "one", "two", "three", "four", None],
        boxes=[[1, 2], None, [], None, None, None],
        shapes=[{"corners": [[0.5, 1.5]]}, *[None] * 5],
        emb=[[0.5, 1.5]] * 6,
        sound=[{"bytes": b"\0", "path": "a.wav"}] * 6,
        raw=[b"\0"] * 6,
    )
    found = listed(path)
    assert said(found) == {
        "t.parquet/a.png": ("zero", {"label": 5, "boxes": [1, 2], "shapes": {"corners": [[0.5, 1.5]]}}),
        "t.parquet/1": ("one", {"label": 4}),
        "t.parquet/a.png#2": ("two", {"label": 3, "boxes": []}),
        "t.parquet/3": ("three", {"label": 2}),
        "t.parquet/2": ("four", {"label": 1}),
        "t.parquet/3#5": (None, {}),
    }
    assert all_bytes(found) == [picture(n) for n in range(6)]
    assert all_bytes(reversed(found)) == [picture(n) for n in reversed(range(6))]


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary(), pa.struct([("bytes", pa.binary())])])
def test_bytes_may_be_a_column_or_a_field(tmp_path: Path, kind: pa.DataType) -> None:
    values = [picture(n) if not pa.types.is_struct(kind) else {"bytes": picture(n)} for n in range(7)]
    found = listed(parquet(tmp_path / "t.parquet", values, kind))
    assert [one.path for one in found] == [f"t.parquet/{n}" for n in range(7)]
    assert all_bytes(found) == [picture(n) for n in range(7)]


def test_a_row_without_bytes_is_the_file_beside_it_or_a_failure(tmp_path: Path) -> None:
    (tmp_path / "d/in").mkdir(parents=True)
    (tmp_path / "d/in/a.png").write_bytes(picture(9))
    (tmp_path / "out.png").write_bytes(picture(8))
    names = ["in/a.png", "../out.png", "http://example.org/a.png", None, "gone.png"]
    rows = [*({"bytes": None, "path": name} for name in names), None]
    found = listed(parquet(tmp_path / "d/t.parquet", rows))
    assert read_file(found[0]) == picture(9)
    for entry, why in zip(found[1:4], ("outside", "nothing is fetched", "no picture"), strict=True):
        with pytest.raises(PictureError, match=why):
            read_file(entry)
    with pytest.raises(FileNotFoundError):
        read_file(found[4])
    with pytest.raises(PictureError, match="no picture"):
        read_file(found[5])


def test_of_several_columns_the_usual_one_is_read_and_the_others_are_named(tmp_path: Path) -> None:
    path = parquet(
        tmp_path / "t.parquet",
        [{"bytes": picture(1), "path": None}],
        mask=pa.array([{"bytes": picture(2), "path": None}], STRUCT),
        sound=pa.array([{"bytes": b"RIFF", "path": None}], STRUCT),
    )
    assert all_bytes(listed(path)) == [picture(1)]
    [note] = open_sources([path], TableOptions(), None).tables.notes
    assert note.endswith("those in image are read, and not mask")


def test_lists_of_pictures_are_refused_in_words(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"images": pa.array([[{"bytes": picture(1), "path": None}]], pa.list_(STRUCT))}), path)
    with pytest.raises(SourceError, match="lists of pictures in its column images"):
        is_container(path)


def test_captions_come_from_the_column_that_is_named(tmp_path: Path) -> None:
    path = parquet(tmp_path / "t.parquet", [{"bytes": picture(1), "path": None}], text=["usual"], prompt=["named"])
    own = SourceTable(str(path), None, "prompt")
    assert said(listed(path, own=own)) == {"t.parquet/0": ("named", {"text": "usual"})}
    [found] = listed(path, own=SourceTable(str(path), None, "promt"))
    assert "no column 'promt'" in str(found.problem)


def test_a_damaged_page_costs_its_rows_and_no_others(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    rows = [{"bytes": picture(n), "path": None} for n in range(9)]
    pq.write_table(
        pa.table({"image": pa.array(rows, STRUCT)}),
        path,
        row_group_size=3,
        write_page_checksum=True,
        compression="none",
        use_dictionary=False,
        write_statistics=False,
    )
    at = path.read_bytes().index(picture(4))
    data = bytearray(path.read_bytes())
    data[at + 20] ^= 255
    path.write_bytes(data)
    found, right = listed(path), []
    for number, entry in enumerate(found):
        try:
            assert read_file(entry) == picture(number)
            right.append(number)
        except PictureError as error:
            assert "damaged" in str(error)
    assert right == [0, 1, 2, 6, 7, 8]


def test_a_file_that_expands_beyond_reason_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    large, many = picture(1) + bytes(64 << 20), picture(1) + bytes(900_000)
    pq.write_table(pa.table({"image": pa.array([large] * 6, pa.binary())}), path, compression="zstd")
    [found] = listed(path)
    assert found.unread
    assert "can hold" in str(found.problem)
    # Of a dictionary few bytes stand for many values.
    pq.write_table(pa.table({"image": pa.array([many] * 400, pa.binary())}), path, compression="zstd")
    found = listed(path)
    assert len(found) == 400
    with pytest.raises(PictureError, match="more than a file of its size can hold"):
        all_bytes(found)


# -- sources -----------------------------------------------------------------------------------


def kinds(*paths: Path) -> list[tuple[str, str]]:
    found = open_sources(list(paths), TableOptions(), None).listings
    return [(one.source.kind, type(one).__name__) for one in found]


def test_what_is_named_decides_how_it_is_read(tmp_path: Path) -> None:
    pictures = [{"bytes": picture(1), "path": None}]
    one, other = tar(tmp_path / "x.TAR", [("a.png", picture(1))]), parquet(tmp_path / "t.parquet", pictures)
    assert kinds(one, other) == [("container", "ContainerListing")] * 2
    assert kinds(tmp_path) == [("containers", "Folder")]
    assert kinds(tmp_path, one) == [("containers", "Folder")]
    (tmp_path / "a.png").write_bytes(picture(2))
    assert kinds(tmp_path) == [("folder", "Folder")]
    both = parquet(tmp_path / "v.parquet", pictures, vector=pa.array([[0.1, 0.2]], pa.list_(pa.float32())))
    assert kinds(both) == [("vectors", "VectorFiles")]
    for name in ("x.tar.gz", "x.TGZ", "x.tar.zst"):
        (tmp_path / name).write_bytes(b"")
        with pytest.raises(SourceError, match="compressed as a whole"):
            kinds(tmp_path / name)


def test_a_folder_of_containers_is_none_where_pictures_lie_beside_them(tmp_path: Path) -> None:
    assert not is_of_containers(tmp_path, [])
    (tmp_path / "deep").mkdir()
    tar(tmp_path / "deep/x.tar", [("a.png", picture(1))])
    (tmp_path / "README.md").write_text("about")
    assert is_of_containers(tmp_path, [])
    (tmp_path / "a.png").write_bytes(picture(1))
    assert not is_of_containers(tmp_path, [])


def test_a_folder_lists_its_containers_and_those_that_are_broken(tmp_path: Path) -> None:
    tar(tmp_path / "x.tar", [("a.png", picture(1)), ("b.md", b"")])
    for name in ("y.tar", "z.parquet"):
        (tmp_path / name).write_bytes(b"?" * 2000)
    parquet(tmp_path / "sub.parquet", [{"bytes": picture(2), "path": None}])
    pq.write_table(pa.table({"file": ["a.png"]}), tmp_path / "table.parquet")
    source = Source("s", "containers", str(tmp_path))
    folder = Folder(source, tmp_path, containers=Containers(source, reads=True))
    found = list(folder.entries())
    assert [(one.path, one.unread) for one in found] == [
        ("sub.parquet/0", False),
        ("x.tar/a.png", False),
        ("y.tar", True),
        ("z.parquet", True),
    ]
    assert folder.ignored == 2


def test_tables_say_more_than_the_container(tmp_path: Path) -> None:
    path = tar(tmp_path / "x.tar", [("a.png", picture(1)), ("a.txt", b"own"), ("a.json", b'{"n": 1, "m": 2}')])
    (tmp_path / "t.csv").write_text("file,caption,n\na.png,joined,5\n")
    tables = JoinedTables([LabelTable.open(tmp_path / "t.csv")])
    assert said(listed(path, labels=tables)) == {"x.tar/a.png": ("joined", {"n": 5, "m": 2})}
