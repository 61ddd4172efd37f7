"""Proposed keys and the evidence for them, in words."""

from nexus_model.schema import Record

ACCEPTED = 0.6
WORTH_SAYING = 0.4


class ProposedKey(Record):
    """A primary key; ``repeats`` rows have the key of an earlier row and will be quarantined."""

    table: str
    columns: tuple[str, ...]
    score: float
    repeats: int = 0
    reason: str


class ProposedLink(Record):
    """A foreign key, from ``columns`` of ``table`` to ``references_columns`` of ``parent``.

    ``orphans`` is the share of rows with a key that name no row of the parent; ``recast`` whether
    the column's type must be made the parent's first.
    """

    table: str
    columns: tuple[str, ...]
    parent: str
    references_columns: tuple[str, ...]
    confidence: float
    orphans: float = 0.0
    recast: bool = False
    reason: str

    @property
    def told(self) -> str:
        """Such as ``orders.customer_id > customers.id``."""
        mine, theirs = "+".join(self.columns), "+".join(self.references_columns)
        return f"{self.table}.{mine} > {self.parent}.{theirs}"
