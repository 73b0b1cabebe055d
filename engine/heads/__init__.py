"""Heads: small maps from one encoder's vectors to vectors whose prefixes are good vectors themselves."""
