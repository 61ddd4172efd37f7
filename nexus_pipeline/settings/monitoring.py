"""The monitoring section of the project file: what is compared, and how far is too far."""

from pydantic import Field

from nexus_model.schema import Record


class MonitoringConfig(Record):
    """An alarm needs a size over its bound and, over all tests of a run, a corrected p-value."""

    window_days: int = Field(30, gt=0, description="rows of so many days before a day are compared")
    reference_days: int = Field(
        365, gt=0, description="with rows of so many days before the champion's training ended"
    )
    most_rows: int = Field(
        10_000, ge=100, description="of a table on either side, drawn by a hash of the key"
    )
    alpha: float = Field(0.01, gt=0, lt=1, description="chance of a false alarm of a whole run")
    psi: float = Field(0.2, gt=0, description="population stability index of a column")
    ks: float = Field(0.1, gt=0, lt=1, description="Kolmogorov's distance of a number")
    cramers_v: float = Field(0.1, gt=0, lt=1, description="Cramer's V of a category")
    missing: float = Field(0.05, gt=0, lt=1, description="change of the share of missing values")
    auroc: float = Field(
        0.65, gt=0.5, lt=1, description="of a classifier that tells a table's rows now from then"
    )
    volume: float = Field(2.0, gt=1, description="times as many, or as few, rows a day")
    novelty: float = Field(
        0.05, gt=0, lt=1, description="share of entities farther out than 99 % of training's"
    )
    metric: float = Field(
        0.1, gt=0, description="loss of the live metric, as a share of its value on test samples"
    )
