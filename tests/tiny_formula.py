"""A stand-in for a model whose answer is a known sum of parts of the tables it is given."""

from types import SimpleNamespace

import numpy as np
import torch

from nexus_model.explain.outcome import losses, score_of
from nexus_model.schema import TaskKind, TaskSpec

TASK = TaskSpec(name="sum", kind=TaskKind.REGRESSION, entity_table="customers", horizon_days=30)


def per_sample(batch, path, value_R):
    """``[B]`` sum of a value over the rows each sample sees along a path."""
    of_N = torch.repeat_interleave(torch.arange(batch.samples), path.offsets_B.diff())
    return torch.zeros(batch.samples).index_add(0, of_N, value_R[path.rows_N])


class Planted:
    """``Asked`` of a formula: orders times 3, tickets times 1, age times orders' totals."""

    def __init__(self, tensors, *, pair=0.0, parent=0.0, orders=3.0, tickets=1.0):
        self.task = TASK
        self.model = SimpleNamespace(config=SimpleNamespace(parent_hops=1, cohort=False))
        self.places = {path.table: at for at, path in reversed(list(enumerate(tensors.paths)))}
        self.strengths = {"orders": orders, "tickets": tickets}
        self.pair, self.parent = pair, parent

    def along(self, batch, table, value_R):
        """A sum over the table's nearest path."""
        return per_sample(batch, batch.paths[self.places[table]], value_R)

    def predictions(self, batch, cycles=None):
        counts = {
            table: self.along(batch, table, torch.ones(len(batch.tables[table].ids_R)))
            for table in self.strengths
        }
        found = sum(strength * counts[table] for table, strength in self.strengths.items())
        age_B = self.along(batch, "customers", batch.tables["customers"].numerical_RC[:, 0])
        total_B = self.along(batch, "orders", batch.tables["orders"].numerical_RC[:, 0])
        orders = batch.tables["orders"]
        shop_R = torch.where(orders.parents_RP[:, 1] >= 0, 1.0, 0.0)
        region_R = torch.cat([batch.tables["shops"].categorical_RC[:, 0], torch.zeros(1)])
        read_B = self.along(batch, "orders", shop_R * region_R[orders.parents_RP[:, 1]])
        return found + self.pair * age_B * total_B + self.parent * read_B

    def scores(self, found, class_B=None):
        """As ``Asked``."""
        return score_of(self.task, found, class_B)


def truth(asked, coalitions, noise=0.0):
    """The formula's own answers, so that its loss without exchange is only the noise."""
    own_B = coalitions.predictions()[0].astype(np.float64)
    coalitions.label_B = own_B + np.random.default_rng(5).normal(0, noise, len(own_B))
    assert noise or losses(asked.task, own_B, coalitions.label_B).max() == 0
    return coalitions
