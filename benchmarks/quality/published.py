"""What rel-f1's results are held against, and what others published about it, by regime."""

from typing import NamedTuple


class Bar(NamedTuple):
    """What a test metric must reach, and what it aims at; for position both are upper limits."""

    must: float
    aim: float


class Published(NamedTuple):
    """A system's test figures as its source has them; position in places, None if it gives none.

    ``source`` says who stands behind them: ``leaderboard``, prediction files re-scored by the
    benchmark's maintainers; ``own report``, a paper's or a vendor's; ``other harness``, measured
    by a third party.
    """

    system: str
    source: str
    position: float | None
    dnf: float | None
    top3: float | None


BARS = {
    ("position", "seed_time"): Bar(2.50, 2.41),
    ("dnf", "seed_time"): Bar(0.830, 0.8463),
    ("top3", "seed_time"): Bar(0.921, 0.9357),
    ("position", "frozen"): Bar(3.75, 3.53),
    ("dnf", "frozen"): Bar(0.730, 0.784),
    ("top3", "frozen"): Bar(0.860, 0.879),
}

# The leaderboard prints position as a share of the training labels' deviation, 7.025734.
_BOARD, _OWN, _OTHER = "leaderboard", "own report", "other harness"
PUBLISHED = {
    "seed_time": (
        Published("Kapso (agents search; boosting and TabPFN)", _BOARD, 2.417, 0.8327, 0.9357),
        Published("KumoRelational, in context", _BOARD, 3.073, 0.8434, 0.9080),
        Published("RT-J, fine-tuned", _BOARD, 2.646, 0.8277, 0.9171),
        Published("RT-J, in context", _BOARD, 2.723, 0.8308, 0.9100),
        Published("RT-PluRel, fine-tuned (Oct 2026)", _BOARD, 2.791, 0.8209, 0.9001),
        Published("RT, first version, fine-tuned", _BOARD, 3.425, 0.7993, 0.8384),
        Published("KumoRFM-2, in context", _OWN, 2.854, 0.8463, 0.9220),
    ),
    "frozen": (
        Published("GelGT", _BOARD, 3.746, 0.7563, 0.8590),
        Published("InRTL", _BOARD, 3.792, 0.7489, 0.8349),
        Published("reldfs (DFS and LightGBM)", _BOARD, None, 0.7334, 0.8266),
        Published("GNN and LightGBM", _BOARD, 4.113, 0.7157, 0.7248),
        Published("RelBench GNN", _BOARD, 4.062, 0.7261, 0.6801),
        Published("LightGBM, entity table only", _BOARD, 4.229, 0.7255, 0.6493),
        Published("Kapso search", _OWN, 3.531, None, None),
        Published("RGP (its regime is not stated)", _OWN, None, 0.784, 0.879),
        Published("data scientist (SQL and LightGBM)", _OWN, 3.963, 0.6980, 0.8238),
        Published("RDL (GraphSAGE)", _OWN, 4.022, 0.7262, 0.7554),
        Published("TabPFN-Rel (RelArena)", _OTHER, 3.762, 0.715, 0.793),
        Published("RT-PluRel, fine-tuned (RelArena)", _OTHER, 3.818, 0.732, 0.759),
        Published("RelGT (RelArena)", _OTHER, 4.766, 0.712, 0.811),
        Published("KumoRFM-2, run again frozen (RelArena)", _OTHER, 4.022, 0.7203, 0.8209),
    ),
}
