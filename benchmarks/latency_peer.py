"""The peer of ``latency.py``, run in an environment that has featuretools and nothing of ours.

Features are defined once (deep feature synthesis, default primitives, depth 2) and LightGBM is
trained on them; measured are one entity's features at its cutoff and its prediction.
"""

import json
import sys
import time
import warnings
from pathlib import Path

import featuretools as ft
import lightgbm as lgb
import numpy as np
import pandas as pd

ROUNDS, WARM, DEPTH = 40, 3, 2


def entity_set(folder: Path, tables: dict) -> ft.EntitySet:
    """Every table with its index, its time and its relationships."""
    made = ft.EntitySet("peer")
    for name, spec in tables.items():
        frame = pd.read_parquet(folder / f"{name}.parquet")
        if spec["index"] != "_row":
            frame = frame.drop(columns="_row")
        for column in frame.select_dtypes("object"):
            frame[column] = frame[column].astype("string").astype("category")
        for key, parent, _ in spec["keys"]:
            whole = pd.read_parquet(folder / f"{parent}.parquet", columns=[tables[parent]["index"]])
            frame[key] = frame[key].astype(whole.iloc[:, 0].dtype)
        made.add_dataframe(
            dataframe_name=name,
            dataframe=frame,
            index=spec["index"],
            time_index=spec["time_index"],
        )
    for name, spec in tables.items():
        for key, parent, parent_key in spec["keys"]:
            if tables[parent]["index"] == parent_key and parent != name:
                made.add_relationship(parent, parent_key, name, key)
    return made


class Numbers:
    """A feature matrix as numbers: categories as codes of those seen in training."""

    def __init__(self, matrix: pd.DataFrame) -> None:
        self.seen = {
            name: pd.Index(matrix[name].astype("string").unique())
            for name in matrix.select_dtypes(exclude=["number", "bool", "boolean"])
        }

    def of(self, matrix: pd.DataFrame) -> np.ndarray:
        columns = [
            self.seen[name].get_indexer(matrix[name].astype("string"))
            if name in self.seen
            else pd.to_numeric(matrix[name]).to_numpy(dtype=float, na_value=np.nan)
            for name in matrix
        ]
        return np.stack(columns, axis=1)


def main() -> None:
    """Print the figures as one line of JSON."""
    warnings.simplefilter("ignore")
    folder = Path(sys.argv[1])
    asked = json.loads((folder / "asked.json").read_text("utf-8"))
    entities = entity_set(folder, asked["tables"])
    features = ft.dfs(
        entityset=entities,
        target_dataframe_name=asked["entity"],
        max_depth=DEPTH,
        features_only=True,
    )
    samples = pd.read_parquet(folder / "_samples.parquet")
    dated = asked["cutoff"] is not None

    def matrix(keys: list, moments: list) -> pd.DataFrame:
        told = (
            {"cutoff_time": pd.DataFrame({"instance_id": keys, "time": moments})}
            if dated
            else {"instance_ids": keys}
        )
        return ft.calculate_feature_matrix(features, entityset=entities, n_jobs=1, **told)

    trained = matrix(samples["key"].tolist(), pd.to_datetime(samples["cutoff"]).tolist())
    numbers = Numbers(trained)
    found = trained.index if not dated else trained.index.get_level_values(0)
    by_key = samples.set_index("key")["label"] if not dated else None
    label = samples["label"] if by_key is None else by_key.loc[found]
    booster = lgb.train(
        {"objective": "binary", "num_threads": 1, "verbosity": -1},
        lgb.Dataset(numbers.of(trained), np.asarray(label)),
        200,
    )
    wall, cpu = [], []
    for turn in range(ROUNDS + WARM):
        key, moment = asked["keys"][turn % len(asked["keys"])], pd.Timestamp(asked["cutoff"])
        started, spent = time.perf_counter(), time.process_time()
        booster.predict(numbers.of(matrix([key], [moment])), num_threads=1)
        wall.append((time.perf_counter() - started) * 1000)
        cpu.append((time.process_time() - spent) * 1000)
    figures = {
        f"{name}_p{share}_ms": round(float(np.quantile(times[WARM:], share / 100)), 1)
        for name, times in (("wall", wall), ("cpu", cpu))
        for share in (50, 95)
    }
    versions = {"featuretools": ft.__version__, "lightgbm": lgb.__version__}
    versions["pandas"] = pd.__version__
    print(json.dumps(figures | {"features": len(features), "versions": versions}))


if __name__ == "__main__":
    main()
