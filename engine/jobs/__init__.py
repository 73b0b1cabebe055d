"""What changes a collection: each job ends in one commit."""
