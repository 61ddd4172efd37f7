"""The training table's suite: Great Expectations over the samples, with its Data Docs.

Everything else is checked in SQL; this report is for readers who want pages to click through.
"""

import os
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, assert_never
from urllib.parse import unquote, urlparse

from nexus_model.schema import DataError, Record, TaskKind
from nexus_pipeline.steps.without_pyspark import without_pyspark
from nexus_pipeline.storage import Store
from nexus_pipeline.storage.names import quote_all, quote_table
from nexus_pipeline.storage.tables import table_columns

if TYPE_CHECKING:
    from pandas import DataFrame

SPLITS = ("train", "validation", "refit", "test")


class SuiteResult(Record):
    """One expectation and how many values were not as expected."""

    expectation: str
    success: bool
    unexpected: int = 0


class SuiteReport(Record):
    """Whether all expectations hold, each one's result, and the first page of the Data Docs."""

    success: bool
    results: tuple[SuiteResult, ...]
    docs: Path


def check_training_table(
    store: Store,
    task_name: str,
    docs_folder: Path,
    *,
    kind: TaskKind,
    entity_key: Sequence[str],
    temporal: bool,
    classes: int = 0,
) -> SuiteReport:
    """Run the suite on ``aligned.samples_<task>`` and build its pages in ``docs_folder``.

    ``temporal`` samples have a cutoff and are unique by entity key, cutoff, the moment their
    data is of and split; others have none and are unique by entity key. A multiclass task has
    so many ``classes``.

    Raises:
        DataError: the table lacks a column that samples have.
    """
    name = f"samples_{task_name}"
    frame = _samples(store, f"aligned.{name}", entity_key)
    gx = great_expectations()
    asked = _expectations(
        gx.expectations, _label_values(kind, classes), tuple(entity_key), temporal=temporal
    )
    expected = list(asked)
    context = open_context(gx, docs_folder)
    result = _run(gx, context, gx.ExpectationSuite(name=name, expectations=expected), frame)
    return SuiteReport(
        success=bool(result.success),
        results=tuple(told(found) for found in result.results),
        docs=build_pages(context),
    )


def build_pages(context: Any) -> Path:
    """Build the Data Docs of a context; their first page."""
    pages = context.build_data_docs()
    return Path(unquote(urlparse(next(iter(pages.values()))).path))


def _samples(store: Store, table: str, entity_key: Sequence[str]) -> "DataFrame":
    needed = ["sample", *entity_key, "cutoff", "as_of", "label", "split", "entity_row"]
    with store.read() as con:
        missing = [name for name in needed if name not in table_columns(con, table)]
        if missing:
            raise DataError(f"has no columns {missing}", table=table)
        return con.sql(f"SELECT {quote_all(needed)} FROM {quote_table(table)}").df()


def great_expectations() -> Any:
    """The package, its telemetry off; importing it takes seconds."""
    # Read when the package is imported, so it must be said before.
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    with warnings.catch_warnings(), without_pyspark():
        warnings.simplefilter("ignore", DeprecationWarning)
        import great_expectations as gx
    return gx


def open_context(gx: Any, folder: Path) -> Any:
    """A context that keeps its suites, results and pages below ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    context = gx.get_context(mode="file", project_root_dir=folder)
    context.variables.progress_bars = {"globally": False}
    return context


def _label_values(kind: TaskKind, classes: int) -> list[float]:
    """The only labels there may be; none if they are numbers."""
    match kind:
        case TaskKind.BINARY:
            return [0.0, 1.0]
        case TaskKind.MULTICLASS:
            return [float(at) for at in range(classes)]
        case TaskKind.REGRESSION | TaskKind.QUANTILE:
            return []
        case _ as unreachable:
            assert_never(unreachable)


def _expectations(
    gxe: Any, labels: list[float], entity_key: tuple[str, ...], *, temporal: bool
) -> Iterator[Any]:
    yield gxe.ExpectTableRowCountToBeBetween(min_value=1)
    yield gxe.ExpectColumnValuesToBeUnique(column="sample")
    filled = [
        "sample",
        *entity_key,
        "label",
        "split",
        "entity_row",
        *(["cutoff", "as_of"] * temporal),
    ]
    for column in filled:
        yield gxe.ExpectColumnValuesToNotBeNull(column=column)
    yield gxe.ExpectColumnValuesToBeInSet(column="split", value_set=list(SPLITS))
    if labels:
        yield gxe.ExpectColumnValuesToBeInSet(column="label", value_set=labels)
    unique = [*entity_key, "cutoff", "as_of", "split"] if temporal else list(entity_key)
    if len(unique) > 1:
        yield gxe.ExpectCompoundColumnsToBeUnique(column_list=unique)
    else:
        yield gxe.ExpectColumnValuesToBeUnique(column=unique[0])


def _run(gx: Any, context: Any, expected: Any, frame: "DataFrame") -> Any:
    name = expected.name
    source = context.data_sources.add_or_update_pandas("store")
    batch = source.add_dataframe_asset(name).add_batch_definition_whole_dataframe("all")
    suite = context.suites.add_or_update(expected)
    validation = context.validation_definitions.add_or_update(
        gx.ValidationDefinition(name=name, data=batch, suite=suite)
    )
    checkpoint = context.checkpoints.add_or_update(
        gx.Checkpoint(name=name, validation_definitions=[validation])
    )
    result = checkpoint.run(batch_parameters={"dataframe": frame})
    return next(iter(result.run_results.values()))


def told(found: Any) -> SuiteResult:
    """One result of Great Expectations."""
    config = found.expectation_config
    columns = config.kwargs.get("column_list") or [config.kwargs.get("column", "table")]
    return SuiteResult(
        expectation=f"{config.type}({', '.join(columns)})",
        success=bool(found.success),
        unexpected=int(found.result.get("unexpected_count") or 0),
    )
