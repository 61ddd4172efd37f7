"""The peer of ``features.py``, in an environment that has featuretools and nothing of ours."""

import json
import resource
import sys
import time
import warnings
from pathlib import Path

import featuretools as ft
import pandas as pd

DEPTH = 2


def main() -> None:
    """Print the figures as one line of JSON."""
    warnings.simplefilter("ignore")
    folder = Path(sys.argv[1])
    started, spent = time.perf_counter(), time.process_time()
    entities = pd.read_parquet(folder / "entities.parquet")
    events = pd.read_parquet(folder / "events.parquet")
    for frame, columns in ((entities, ["region"]), (events, ["kind", "channel"])):
        frame[columns] = frame[columns].astype("category")
    made = ft.EntitySet("peer")
    made.add_dataframe(dataframe_name="entities", dataframe=entities, index="entity_id")
    made.add_dataframe(
        dataframe_name="events", dataframe=events, index="event_id", time_index="happened"
    )
    made.add_relationship("entities", "entity_id", "events", "entity_id")
    samples = pd.read_parquet(folder / f"samples_{sys.argv[2]}.parquet")
    matrix, features = ft.dfs(
        entityset=made,
        target_dataframe_name="entities",
        cutoff_time=samples.rename(columns={"entity_id": "instance_id", "cutoff": "time"}),
        max_depth=DEPTH,
        n_jobs=1,
    )
    print(
        json.dumps(
            {
                "wall_s": round(time.perf_counter() - started, 3),
                "cpu_s": round(time.process_time() - spent, 3),
                "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6,
                "samples": len(matrix),
                "features": len(features),
                "versions": {"featuretools": ft.__version__, "pandas": pd.__version__},
            }
        )
    )


if __name__ == "__main__":
    main()
