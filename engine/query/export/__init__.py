"""A collection written as others read it."""
