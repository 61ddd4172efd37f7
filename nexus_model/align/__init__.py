"""Key alignment in time: which rows of which table each sample may see, as SQL over DuckDB."""
