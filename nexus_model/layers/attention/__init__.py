"""Attention behind one seam: the formula is a file, every backend is measured against it."""
