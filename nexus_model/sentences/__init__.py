"""A sentence-embedding model of this machine: its folder, how it is run, vectors that are kept."""
