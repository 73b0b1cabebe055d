"""What a file of a picture is by its name, and how large one may be."""

from __future__ import annotations

UNREAD_SUFFIXES: frozenset[str] = frozenset(
    {".svg", ".svgz", ".eps", ".wmf", ".emf", ".cdr", ".xcf", ".kra", ".ora", ".psb", ".clip", ".dds", ".tga", ".exr"}
    | {".hdr", ".qoi", ".pcx", ".icns", ".cur", ".sgi", ".ras", ".jxr", ".wdp", ".hdp", ".bpg", ".flif", ".djvu"}
)
"""Pictures that nothing here reads: each is a failure that says what to do, and is not passed over."""

RAW_SUFFIXES: frozenset[str] = frozenset(
    {".cr2", ".cr3", ".crw", ".nef", ".nrw", ".arw", ".sr2", ".srf", ".dng", ".raf", ".rw2", ".rwl", ".orf", ".pef"}
    | {".srw", ".3fr", ".fff", ".iiq", ".x3f", ".dcr", ".kdc", ".mrw", ".erf", ".mef", ".mos"}
)
"""What cameras write beside, or in place of, a picture that they have developed."""

PICTURE_SUFFIXES: frozenset[str] = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".gif", ".webp", ".bmp", ".dib"}
    | {".tif", ".tiff", ".avif", ".avifs", ".heic", ".heics", ".heif", ".heifs", ".hif", ".jxl", ".psd"}
    | {".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx"}
    | {".ppm", ".pgm", ".pbm", ".pnm", ".pfm", ".ico"}
    | RAW_SUFFIXES
    | UNREAD_SUFFIXES
)

DEVELOPED_SUFFIXES: frozenset[str] = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".heic", ".heif", ".hif"})
"""What they develop one to, in the same folder and of the same name."""

JPEG, RAW, BOTH = PAIRS = ("jpeg", "raw", "both")
"""What is wanted of the two."""

MOST_SIDE = 1 << 20
"""More pixels than the shorter side of a picture is asked to have."""

DEFAULT_MAX_PIXELS = 178_956_970
"""The size above which Pillow itself takes a picture for an attack: 0.7 GB as decoded RGB."""

METADATA = ALL_METADATA, NO_LOCATION, NO_METADATA = ("all", "no location", "none")
"""What of a picture file's own metadata becomes columns."""

MOST_FILE_BYTES = 1 << 30
"""A picture of a hundred million pixels is smaller than this in any format that is taken."""
