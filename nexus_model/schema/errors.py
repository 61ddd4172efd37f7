"""Errors a user can act on; each carries the exit code the command line documents."""


class NexusError(Exception):
    """Base of the errors that mean "your input", not "our bug"."""

    exit_code = 1


class ConfigurationError(NexusError, ValueError):
    """The project file says something that cannot be done."""

    exit_code = 2


class DataError(NexusError, ValueError):
    """The tables are not what the project file promised.

    Names the table, and where known the column, the number of rows and one example.
    """

    exit_code = 3

    def __init__(
        self,
        problem: str,
        *,
        table: str,
        column: str | None = None,
        rows: int | None = None,
        example: object = None,
    ) -> None:
        self.problem, self.table, self.column, self.rows = problem, table, column, rows
        self.example = example
        where = table if column is None else f"{table}.{column}"
        told = "" if rows is None else f" ({rows} row{'' if rows == 1 else 's'})"
        shown = "" if example is None else f"; for example {example!r}"
        super().__init__(f"{where}: {problem}{told}{shown}")


class TrainingError(NexusError, RuntimeError):
    """Training could not go on: a loss that is not finite, a split without rows."""

    exit_code = 4


class ArtifactError(NexusError, ValueError):
    """A ``.nxf`` file is damaged, foreign, or newer than this library."""

    exit_code = 3
