"""The encoder that comes with nestvec."""
