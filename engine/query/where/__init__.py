"""Which items may answer, by what their columns say: SQL or JSON → a tree → one bit a row."""
