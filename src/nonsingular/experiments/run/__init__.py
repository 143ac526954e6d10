"""How an experiment is run: its study in chunks, on engines, with instruments; what it keeps."""
