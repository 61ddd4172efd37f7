"""The MLflow pyfunc: a ``.nxf`` file behind MLflow's interface, loaded as code, never as a pickle.

Input: one row per table with columns ``table`` and ``records`` (the table's rows as a JSON list).
Texts that a sentence model reads need its folder in the environment's NEXUSFLOW_TEXT_MODEL.
Parameter ``cutoff``: ISO 8601 moment asked about; empty for a static task.
Output: the entity's key columns and ``prediction``, in the order of the entity table's records.
"""

from typing import Any

import mlflow
import pandas as pd

MEMBER = "nxf"


class ServedNexusFormer(mlflow.pyfunc.PythonModel):
    """Predicts with the artifact alone."""

    def load_context(self, context: Any) -> None:
        """Open the artifact; hashes are checked, nothing in it is executed."""
        from nexus_model.serve.predictor import load_model

        self.predictor = load_model(context.artifacts[MEMBER])

    def predict(
        self,
        context: Any,  # noqa: ARG002 - MLflow's signature
        model_input: pd.DataFrame,
        params: dict[str, Any] | None = None,
    ) -> pd.DataFrame:
        """Predictions for every record of the entity table."""
        import json

        import polars as pl

        columns = {
            table.name: {column.name: pl.Null for column in table.columns}
            for table in self.predictor.artifact.recipe.raw
        }
        frames = {}
        for row in model_input.itertuples():
            records = json.loads(row.records)
            # Records say their columns, unless there are none.
            schema = None if records else columns.get(row.table)
            frames[row.table] = pl.DataFrame(records, schema, infer_schema_length=None)
        cutoff = (params or {}).get("cutoff") or None
        return self.predictor.predict(frames, cutoff=cutoff).to_pandas()


mlflow.models.set_model(ServedNexusFormer())
