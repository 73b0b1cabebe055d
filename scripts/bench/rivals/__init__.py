"""The systems that nestvec is beside: an adapter each, the worker that runs one, and what is made of the figures.

`base`, `records`, `systems`, `memory`, `worker` and the adapters run inside a rival's own environment and need NumPy
and that rival alone. Everything else runs with the environment of nestvec.
"""
