"""Jobs: which assets are made together."""

from collections.abc import Sequence

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from nexus_pipeline.defs.making import (
    ABLATION,
    BATCH,
    ENSEMBLE,
    EVERYTHING,
    MONITORING,
    OPTIMIZATION,
    Making,
)
from nexus_pipeline.project import ProjectConfig

ABOUT = {
    EVERYTHING: "Every asset from raw to served; unchanged work is recognised and reused.",
    ABLATION: "Every variant of the model, trained and compared on validation samples.",
    ENSEMBLE: "Several trainings of the model, averaged, alone and beside boosting.",
    OPTIMIZATION: "Every stage that makes a model smaller, up to the first that costs too much.",
    MONITORING: "Tables read anew, then what moved since the champion was trained.",
    BATCH: "Predictions of the champion as of the start of a day, one partition a day.",
}


def asset_job(
    project: ProjectConfig, makings: Sequence[Making], name: str
) -> UnresolvedAssetJobDefinition:
    """The assets of one job and, with everything, their checks."""
    others = [dg.AssetKey(m.key.split("/")) for m in makings if not m.is_in(name)]
    own = [dg.AssetKey(m.key.split("/")) for m in makings if m.is_in(name)]
    everything = dg.AssetSelection.all() - dg.AssetSelection.assets(*others)
    return dg.define_asset_job(
        f"{project.project_name}_{name}",
        selection=everything if name == EVERYTHING else dg.AssetSelection.assets(*own),
        description=ABOUT[name],
    )
