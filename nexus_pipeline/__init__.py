"""The Dagster pipeline: one YAML file in, a registered relational model out."""

import os

# Said before torch and LightGBM load OpenMP. Threads that spin while they wait make a training ten
# times slower as soon as anything else wants the same cores; threads that never spin, almost twice
# as slow on idle ones. A short spin is near the better of both.
os.environ.setdefault("GOMP_SPINCOUNT", "5000")
