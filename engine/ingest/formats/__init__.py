"""The files that vectors come in: which columns hold them, and how rows are taken out."""
