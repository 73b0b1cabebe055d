"""What a file is by its name."""

from __future__ import annotations

PICTURE_SUFFIXES: frozenset[str] = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".gif", ".webp", ".bmp", ".dib"}
    | {".tif", ".tiff", ".avif", ".avifs", ".heic", ".heif", ".hif"}
    | {".ppm", ".pgm", ".pbm", ".pnm", ".pfm", ".ico"}
)
