"""Which plan, for which queries, at what cost."""
