"""Arrays with their ids: a FAISS index, and the layout of clip-retrieval."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from engine.query.export.writing import Writing
from engine.storage.names import shown
from indexers.flat_files import write_flat

IMAGE_PATH = "image_path"


def write_faiss(writing: Writing) -> None:
    """Write a FAISS index, `IndexIDMap2` over `IndexFlatIP`: to a unit vector it gives ids and cosines, exactly."""
    items = writing.items
    with writing.place.open("wb") as file:
        write_flat(file, items.dim, items.ids, (block.vectors for block in writing.blocks()))


def write_clip_retrieval(writing: Writing) -> None:
    """Write what `clip-retrieval inference` leaves: `img_emb/img_emb_0.npy`, and the columns row for row beside it.

    The numbers are of the type in which the space stores them, so that none is rounded. `image_path` is where the
    picture lies on this machine.
    """
    items = writing.items.beside(IMAGE_PATH)
    for folder in ("img_emb", "metadata"):
        (writing.place / folder).mkdir()
    dtype = np.dtype(items.space.dtype).newbyteorder("<")
    shape = (len(items), items.dim)
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    schema = items.schema.append(pa.field(IMAGE_PATH, pa.string()))
    with (
        (writing.place / "img_emb" / "img_emb_0.npy").open("wb") as file,
        pq.ParquetWriter(writing.place / "metadata" / "metadata_0.parquet", schema) as table,
    ):
        np.lib.format.write_array_header_1_0(file, header)
        for block in writing.blocks(items):
            file.write(block.vectors.astype(dtype).data)
            paths = [shown(items.snapshot.item(row).uri) for row in block.rows.tolist()]
            table.write_table(block.columns.append_column(IMAGE_PATH, pa.array(paths, pa.string())))
