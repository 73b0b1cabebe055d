"""What a prefix costs and what a head bought: measuring representations, prefix by prefix."""
