"""The ``nexusflow`` command: every command of the package under one name.

Exit codes: 0 done, 1 a bug or a failed check, 2 configuration, 3 data, 4 training, 130 stopped
by Ctrl-C. Every command that answers also answers as JSON (``--json``).
"""

import atexit
import os
import sys

import typer

from nexus_pipeline.answer import answering, plain
from nexus_pipeline.artifact_files import COMMANDS as ARTIFACT_COMMANDS
from nexus_pipeline.commands import begin, expect, make, monitor, observe, tell, trace, use
from nexus_pipeline.registry_commands import COMMANDS as MODEL_COMMANDS

ANSWERING = (
    begin.init, begin.schema, begin.generate,
    make.validate, make.train, make.evaluate, make.ablate, make.ensemble, make.optimize,
    use.predict, use.inspect, tell.explain, tell.card, observe.doctor, observe.graph,
    monitor.monitor, expect.expect, trace.lineage, trace.compare,
)  # fmt: skip
UNTIL_STOPPED = (use.serve, use.ui)

app = typer.Typer(
    no_args_is_help=True,
    add_completion=True,
    rich_markup_mode=None,
    help="Learn from related tables as they are. "
    "Exit codes: 2 configuration, 3 data, 4 training, 130 stopped.",
)
for _command in ANSWERING:
    app.command()(answering(_command))
for _endless in UNTIL_STOPPED:
    app.command()(plain(_endless))

artifact_app = typer.Typer(no_args_is_help=True, help="Sign, verify, encrypt, decrypt .nxf files.")
app.add_typer(artifact_app, name="artifact")
for _about_file in ARTIFACT_COMMANDS:
    artifact_app.command()(answering(_about_file))
models_app = typer.Typer(
    no_args_is_help=True, help="List, compare, promote, roll back, prune models."
)
app.add_typer(models_app, name="models")
for _name, _asked in MODEL_COMMANDS.items():
    models_app.command(_name)(answering(_asked))
for _group, _about, _traced in (
    ("tracking", "Send what waited for the tracking server.", trace.TRACKING),
    ("audit", "Check and show the record of what was made and decided.", trace.AUDIT),
):
    _trace_app = typer.Typer(no_args_is_help=True, help=_about)
    app.add_typer(_trace_app, name=_group)
    for _name, _asked in _traced.items():
        _trace_app.command(_name)(answering(_asked))


def main() -> None:
    """Entry point: run a command, finish what other libraries left to do, and leave.

    DuckDB's bindings report every object that is still referenced when the interpreter is torn
    down, and torch keeps modules alive until then; so the process ends before that report.
    """
    code = 0
    try:
        app()
    except SystemExit as done:
        code = done.code if isinstance(done.code, int) else int(done.code is not None)
    atexit._run_exitfuncs()  # noqa: SLF001 - what the interpreter itself would call next
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
