"""What turns a picture or a text into a vector."""
