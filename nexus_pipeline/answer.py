"""What a command answers: facts for programs, and the same in words for people.

Every command is a function that returns an ``Answer``; ``answering`` makes it one that prints
words, or the facts as JSON with ``--json``, and that ends a user's error with its exit code.
"""

import inspect
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from functools import wraps
from typing import Annotated, Any, NamedTuple

import typer

from nexus_model.schema import NexusError

STOPPED = 130
AsJson = Annotated[bool, typer.Option("--json", help="print facts as JSON")]


class Answer(NamedTuple):
    """``facts`` as JSON has them; ``shown`` are texts or rich tables, in order.

    ``exit_code`` is 1 for what was asked and found wanting, and is no error.
    """

    facts: Any
    shown: tuple[Any, ...]
    exit_code: int = 0


def answering(command: Callable[..., Answer | None]) -> Callable[..., None]:
    """The command with ``--json``, its answer printed, a user's error as one message.

    With ``--json`` standard output holds one JSON value and nothing else: whatever libraries
    print while the command works goes to standard error.
    """

    @wraps(command)
    def run(*given: Any, as_json: bool = False, **named: Any) -> None:
        with told(), redirect_stdout(sys.stderr if as_json else sys.stdout):
            answer = command(*given, **named)
        if answer is not None:
            show(answer, as_json=as_json)
            if answer.exit_code:
                raise typer.Exit(answer.exit_code)

    # Read where the command was written, which this wrapper is not.
    signature = inspect.signature(command, eval_str=True)
    option = inspect.Parameter(
        "as_json", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=AsJson
    )
    parameters = [*signature.parameters.values(), option]
    run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {**command.__annotations__, "as_json": AsJson}
    return run


def plain(command: Callable[..., None]) -> Callable[..., None]:
    """A command that goes on until it is stopped: no answer, but the same end of an error."""

    @wraps(command)
    def run(*given: Any, **named: Any) -> None:
        with told():
            command(*given, **named)

    return run


def show(answer: Answer, *, as_json: bool) -> None:
    """Print one JSON value, or each text and table; colours only on a terminal."""
    if as_json:
        sys.stdout.write(json.dumps(answer.facts, indent=1, ensure_ascii=False) + "\n")
        return
    from rich.console import Console

    console = Console(soft_wrap=True)
    for part in answer.shown:
        console.print(part, highlight=False, markup=False)


@contextmanager
def told() -> Iterator[None]:
    """Show a user's error as one message, and leave with its exit code."""
    code = 0
    try:
        yield
    except NexusError as error:
        typer.echo(f"error: {error}", err=True)
        code = error.exit_code
    except KeyboardInterrupt:
        typer.echo("stopped; what was made is kept, the same command goes on from there", err=True)
        code = STOPPED
    # Outside the except block, so that no traceback keeps connections open until the very end.
    if code:
        raise typer.Exit(code)
