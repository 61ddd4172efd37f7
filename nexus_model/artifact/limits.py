"""Every limit of the ``.nxf`` format: what is larger is refused before it costs time or memory.

The table of ``docs/nxf-format.md`` holds the same names and numbers; a test compares them.
"""

from typing import Final

MOST_MEMBERS: Final = 4096
LONGEST_NAME: Final = 255
LARGEST_MANIFEST: Final = 4 * 2**20
LARGEST_SIGNATURE: Final = 4096
LARGEST_ARCHIVE_BYTES: Final = 4 * 2**30

LARGEST_DEFLATED: Final = 64 * 2**20
LARGEST_DEFLATED_TOTAL: Final = 256 * 2**20
LARGEST_RATIO: Final = 200
RATIO_MATTERS_FROM: Final = 2**20

LARGEST_JSON: Final = 64 * 2**20
DEEPEST_JSON: Final = 100
MOST_JSON_VALUES: Final = 4_000_000

LARGEST_TENSOR_HEADER: Final = 16 * 2**20
MOST_TENSORS: Final = 100_000
MOST_AXES: Final = 16
MOST_NUMBERS: Final = 2**40

# How much of a member is in memory at a time; no rule of the format.
PIECE_BYTES: Final = 2**20
