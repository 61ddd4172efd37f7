"""Aligned tables -> columnar tensors -> batches; statistics fitted on training rows only."""
