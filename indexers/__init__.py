"""Nearest-neighbour indexes over arrays: families, specs, plans, and the exact oracle.

The bottom layer: it knows NumPy and FAISS, and nothing of pictures, Parquet or torch.
"""

import os

# NumPy's BLAS threads spin for 20 ms after each product, on cores that FAISS needs next: a build of 19,000 rows took a
# fifth longer. 2^20 cycles, a third of a millisecond, are enough for one product after another. It is read when NumPy
# is imported: where that came before, and where somebody chose another time, it stays what it is.
os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "20")
