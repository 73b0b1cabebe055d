"""Nearest-neighbour indexes over arrays: families, specs, plans, and the exact oracle.

The bottom layer: it knows NumPy and FAISS, and nothing of pictures, Parquet or torch.
"""
