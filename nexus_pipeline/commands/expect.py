"""The command about what tables are expected to be."""

from typing import Annotated

import typer

from nexus_pipeline.answer import Answer
from nexus_pipeline.commands.options import HERE, ProjectOption


def expect(
    project: ProjectOption = HERE,
    table: Annotated[str | None, typer.Option(help="one table only")] = None,
    *,
    accept: Annotated[bool, typer.Option("--accept", help="write the accepted files")] = False,
) -> Answer:
    """Show how the data differs from what was accepted of the validated tables, as a diff.

    Nothing is written without --accept. Checks look only at tables that have an accepted file.

    Example: nexusflow expect --project nexusflow.yaml

    Example: nexusflow expect --accept --table orders
    """
    from nexus_pipeline.defs.resources import default_resources
    from nexus_pipeline.expect.proposed import propose
    from nexus_pipeline.expect.written import accept as write
    from nexus_pipeline.expect.written import difference
    from nexus_pipeline.project import load_project

    config = load_project(project)
    store = default_resources(config)["store"].store()  # type: ignore[attr-defined]
    proposals = propose(config, store, table)
    differences = {proposal.table: difference(config, proposal) for proposal in proposals}
    changed = [proposal for proposal in proposals if differences[proposal.table]]
    files = [write(config, proposal) for proposal in changed] if accept else []
    shown = tuple(text.rstrip("\n") for text in differences.values() if text)
    said = f"accepted: {', '.join(files)}" if files else "nothing was written; --accept writes it"
    last = said if changed else "the data is as it was accepted"
    return Answer({"differences": differences, "written": files}, (*shown, last))
