"""From sources to a searchable collection: list, encode, write shards, build indexes."""
