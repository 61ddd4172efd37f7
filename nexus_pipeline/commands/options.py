"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

from nexus_pipeline.settings.names import DEFAULT_FILE

HERE = Path(DEFAULT_FILE)
ProjectOption = Annotated[
    Path, typer.Option("--project", "-p", help="project file", envvar="NEXUS_PROJECT")
]
TaskOption = Annotated[str | None, typer.Option(help="one task only")]
