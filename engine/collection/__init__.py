"""The truth on disk: items, vectors and versions in one directory that can be moved."""
