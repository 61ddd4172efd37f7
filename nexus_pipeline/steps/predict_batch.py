"""Served: predictions of the champion for every entity, at the latest moment or as of a day."""

import datetime as dt
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nexus_model.align.recipe import Recipe
from nexus_model.align.relate import quoted
from nexus_model.schema import DataError
from nexus_pipeline.project import ProjectConfig
from nexus_pipeline.steps.align import folder_hash
from nexus_pipeline.steps.champion import champion_version, model_name, read_promotion
from nexus_pipeline.steps.registry import fetch_artifact
from nexus_pipeline.steps.serve_task import raw_frames
from nexus_pipeline.steps.stored import Fact, Stored, relative
from nexus_pipeline.steps.stream_predictions import (
    filled_from_store,
    with_flags,
    write_streamed,
)
from nexus_pipeline.steps.text_model import text_model_place
from nexus_pipeline.storage import Store

if TYPE_CHECKING:
    from nexus_model.serve.predictor import Predictor

PREDICTIONS = "predictions.parquet"


def latest_moment(recipe: Recipe, store: Store) -> dt.datetime | None:
    """The moment to predict from: just after the newest row of the entity's own children."""
    if recipe.cutoffs is None:
        return None
    with store.read() as con:
        found = con.sql(f"select max(window_end) from aligned.{quoted(recipe.cutoffs)}").fetchall()
    moment: dt.datetime = found[0][0]
    return moment


def last_cohort(recipe: Recipe, store: Store, moment: dt.datetime | None) -> list[Any]:
    """Keys of those the task asked about at its last cutoff up to a moment.

    Raises:
        DataError: it asked about nobody until then.
    """
    keys = ", ".join(quoted(column) for column in recipe.entity.primary_key)
    samples = f"aligned.{quoted('samples_' + recipe.task.name)}"
    last = f"select max(cutoff) from {samples} where cutoff <= ?"
    with store.read() as con:
        found = con.execute(
            f"select distinct {keys} from {samples} where cutoff = ({last}) order by all", [moment]
        ).fetchall()
    if not found:
        raise DataError(
            f"nobody was asked about until {moment}", table=f"samples_{recipe.task.name}"
        )
    return [key[0] if len(key) == 1 else key for key in found]


def prediction_folder(project: ProjectConfig, task: str, day: str = "") -> Path:
    """Where batch predictions are: the latest, or those as of a day."""
    name = f"as_of_{day}" if day else "predictions"
    return project.stage_folder("served", task, name)


def predict_batch(
    project: ProjectConfig, task: str, store: Store, uri: str, day: str = ""
) -> Stored:
    """Champion predictions for every entity as Parquet, at the latest moment or as a day begins.

    Keys, prediction, and what somebody should know of it (``flags``), in the entity table's order.
    They are made and written a chunk after another, except by a model that reads cohorts, which is
    asked about those who were asked about last. While no version has
    passed the gate there are none: the reference says why and has no rows.
    """
    from nexus_model.serve.predictor import load_model

    folder, champion = prediction_folder(project, task, day), champion_version(project, task, uri)
    folder.mkdir(parents=True, exist_ok=True)
    told: dict[str, Fact] = {}
    rows = 0
    if not champion:
        (folder / PREDICTIONS).unlink(missing_ok=True)
        told["not_predicted"] = f"no champion: {read_promotion(project, task).reason}"
    else:
        with tempfile.TemporaryDirectory(prefix="nexus-batch-") as place:
            name = model_name(project, task)
            fetched = fetch_artifact(name, champion, uri, Path(place))
            predictor = load_model(fetched, text_model=text_model_place(project))
        recipe = predictor.artifact.recipe
        moment = dt.datetime.fromisoformat(day) if day else latest_moment(recipe, store)
        rows = _write(project, predictor, store, moment, folder / PREDICTIONS)
        told["champion"] = champion
        told["cutoff"] = "" if moment is None else moment.isoformat()
    (folder / "about.json").write_text(json.dumps(told), encoding="utf-8")
    return Stored(
        location=relative(folder, project.root),
        sha256=folder_hash(folder),
        rows=rows,
        facts=told,
    )


def _write(
    project: ProjectConfig,
    predictor: "Predictor",
    store: Store,
    moment: dt.datetime | None,
    file: Path,
) -> int:
    """Write predictions with their flags; how many. A cohort is read as a whole."""
    import pyarrow.parquet as pq

    from nexus_model.serve.streamed import CHUNK, Streamed

    recipe = predictor.artifact.recipe
    if not predictor.reads_cohorts:
        with filled_from_store(recipe, store, file.parents[1]) as con:
            return write_streamed(Streamed(predictor, con, moment), file, CHUNK)
    asked = set(last_cohort(recipe, store, moment))
    frames = raw_frames(project, recipe.task.name, store)
    read = predictor.read_several([predictor.question(frames, moment, asked=asked)])
    found = with_flags(predictor, read)
    pq.write_table(found, file)
    return found.num_rows


def prediction_preview(project: ProjectConfig, task: str, day: str = "") -> str:
    """The first predictions as Markdown; nothing while there are none."""
    import polars as pl

    file = prediction_folder(project, task, day) / PREDICTIONS
    if not file.is_file():
        return ""
    rows = pl.read_parquet(file).head(5)
    lines = ["| " + " | ".join(rows.columns) + " |", "|" + "---|" * len(rows.columns)]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows.iter_rows()]
    return "\n".join(lines)
