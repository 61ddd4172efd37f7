"""SQL models that read dates and numbers out of text, one per table that needs it."""

import textwrap

from nexus_pipeline.propose.profile import TableProfile
from nexus_pipeline.propose.project_text import time_column
from nexus_pipeline.propose.proposal import Proposal
from nexus_pipeline.storage.names import quote


def sql_models(proposal: Proposal) -> dict[str, str]:
    """By table the text of ``aligned/<table>.sql``."""
    texts = {table.table: _model(proposal, table) for table in proposal.tables}
    return {name: text for name, text in texts.items() if text}


def _model(proposal: Proposal, table: TableProfile) -> str:
    asked = proposal.target.column if table.table == proposal.target.table else None
    read = [m for m in proposal.meanings[table.table] if m.reading and m.name != asked]
    if not read:
        return ""
    reasons, replaced = [], []
    for meaning in read:
        assert meaning.reading is not None
        reasons.append(f"{meaning.name}: {meaning.reason}")
        replaced.append(f"        {meaning.reading.sql} as {quote(meaning.name)}")
    head = [line for reason in reasons for line in _comment(reason)]
    column, extra = time_column(proposal, table.table), ""
    chosen = proposal.times[table.table].column
    if column is not None and column != chosen:
        reading = next(m.reading for m in read if m.name == chosen)
        assert reading is not None
        extra = f",\n    {reading.sql} as {quote(column)}"
    body = ",\n".join(replaced)
    return (
        "-- What is text in the file and means something else; what cannot be read is left empty.\n"
        + "\n".join(head)
        + f"\nselect\n    * replace (\n{body}\n    ){extra}\n"
        + f"from validated.{quote(table.table)} as {quote(table.table)}\n"
    )


def _comment(text: str) -> list[str]:
    return textwrap.wrap(text, 96, initial_indent="-- ", subsequent_indent="--   ")
