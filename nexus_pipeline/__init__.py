"""The Dagster pipeline: one YAML file in, a registered relational model out."""

import os

# Said before torch and LightGBM load OpenMP: threads that wait for each other by spinning make a
# training ten times slower as soon as anything else wants the same cores.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
