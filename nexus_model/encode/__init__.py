"""One table's cells -> row vectors; and, for ordered histories, rows -> states."""
