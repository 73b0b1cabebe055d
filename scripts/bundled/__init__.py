"""What rebuilds the shipped data: `bridge`, `nested` and `sample`, each `python -m scripts.bundled.NAME FOLDER`."""
