"""Reports of monitoring, made by hand: what pages, metrics and summaries are made of."""

from nexus_model.evaluate.bootstrap import Interval
from nexus_pipeline.monitor.record import (
    INPUT,
    Distribution,
    DriftReport,
    Finding,
    LiveMetric,
    Measure,
    Novelty,
)


def moved_number(column: str = "grid") -> Finding:
    """A number that moved."""
    return Finding(
        part=INPUT, table="results", column=column, measure=Measure.NUMBERS, size=0.4, bound=0.1,
        psi=0.5, psi_bound=0.2, p=1e-9, corrected=1e-8, moved=True, reference_rows=100,
        current_rows=50,
        distribution=Distribution(
            names=("up to 3", "over 3", "(missing)"), reference=(50, 50, 0), current=(10, 40, 0)
        ),
    )  # fmt: skip


def drifted(column: str = "grid") -> DriftReport:
    """A day on which a column moved and the live metric fell."""
    found = Interval(
        metric="auroc", estimate=0.6, low=0.55, high=0.65, level=0.95, rows=90, clusters=90
    )
    still = moved_number("laps").model_copy(update={"moved": False, "size": 0.02, "psi": 0.01})
    whole = still.model_copy(
        update={"column": "", "measure": Measure.VOLUME, "psi": None, "distribution": None}
    )
    return DriftReport(
        project="f1", task="dnf", day="2013-06-01", champion="3", data_version="abc",
        reference="the 365 days before 2010-01-01", window="the 30 days before 2013-06-01",
        alpha=0.01, findings=(still, moved_number(column), whole),
        live=(LiveMetric(day="2013-03-01", champion="3", found=found),),
        expected=found.model_copy(update={"estimate": 0.8, "low": 0.7, "high": 0.9}),
        live_fell=True,
        novelty=Novelty(entities=20, known=100, share=0.05, examples=(("7", 0.999),)),
    )  # fmt: skip
