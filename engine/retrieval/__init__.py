"""From a query vector to ranked row numbers: plans carried out, checked and explained."""
