"""How heads are trained; all that needs torch."""
