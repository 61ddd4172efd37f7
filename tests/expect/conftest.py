"""A generated shop with few customers, validated, accepted and aligned once; faults take copies."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import polars as pl
import pytest

from nexus_pipeline.expect.accepted import read_accepted
from nexus_pipeline.expect.leaks import Leak, future_rows, shared_entities, telling
from nexus_pipeline.expect.problem import Unexpected
from nexus_pipeline.expect.proposed import propose
from nexus_pipeline.expect.unexpected import find_unexpected
from nexus_pipeline.expect.written import accept
from nexus_pipeline.generate.shop import generate_project
from nexus_pipeline.project import ProjectConfig, load_project
from nexus_pipeline.steps.contracts import derive_contract
from nexus_pipeline.steps.read_raw import read_raw
from nexus_pipeline.steps.validate import validate_table
from nexus_pipeline.storage import Store
from tests.expect.stages import align, store_of, validate

CUSTOMERS = 150
BUYS = """\
select customers.customer_id, cutoffs.cutoff, (count(orders.order_id) > 0)::double as label
from aligned.cutoffs_buys as cutoffs
cross join aligned.customers as customers
left join aligned.orders as orders
    on orders.customer_id = customers.customer_id
    and orders.ordered_at > cutoffs.cutoff and orders.ordered_at <= cutoffs.window_end
group by all
"""
IN_TIME = """\
tasks:
  - {name: buys, entity_table: customers, kind: binary, horizon_days: 30, sql: buys}
split: {validation_from: 2025-07-01, test_from: 2025-10-01}
"""


class Planted(NamedTuple):
    """A project folder in which something may be planted."""

    folder: Path

    @property
    def project(self) -> ProjectConfig:
        return load_project(self.folder / "nexusflow.yaml")

    @property
    def store(self) -> Store:
        return store_of(self.project)

    def change(self, table: str, change: Callable[[pl.DataFrame], pl.DataFrame]) -> None:
        """Rewrite a raw file and validate its table again."""
        file = self.project.raw_path(table)
        change(pl.read_csv(file, infer_schema_length=None)).write_csv(file)
        read_raw(self.project, table, self.store)
        contract = derive_contract(self.project, table, self.store)
        validate_table(self.project, contract, self.store)

    def unexpected(self) -> tuple[Unexpected, ...]:
        """What ``nexusflow validate`` would show."""
        accepted = read_accepted(self.project).values()
        return find_unexpected(self.project, self.store, accepted)

    def leaks(self) -> list[Leak]:
        """What the leak checks of all tasks would show."""
        return [
            leak
            for task in self.project.task_names
            for find in (shared_entities, future_rows, telling)
            for leak in find(self.project, task, self.store)
        ]


@pytest.fixture(scope="session")
def accepted_shop(tmp_path_factory: pytest.TempPathFactory) -> Planted:
    """Validated, accepted and aligned; tests leave it as it is."""
    folder = tmp_path_factory.mktemp("expect") / "shop"
    generate_project("shop", folder, CUSTOMERS, 0)
    shop = Planted(folder)
    store = validate(shop.project)
    for proposal in propose(shop.project, store):
        accept(shop.project, proposal)
    align(shop.project)
    return shop


@pytest.fixture(scope="session")
def timed_shop(accepted_shop: Planted, tmp_path_factory: pytest.TempPathFactory) -> Planted:
    """The same tables, asked in time: who orders in the next month."""
    folder = tmp_path_factory.mktemp("timed") / "shop"
    shutil.copytree(accepted_shop.folder, folder)
    file = folder / "nexusflow.yaml"
    lines = file.read_text("utf-8").splitlines(keepends=True)
    kept = [line for line in lines if not line.startswith("target:")]
    file.write_text("".join(kept) + IN_TIME, encoding="utf-8")
    models = folder / "dbt_like_sql/shop/aligned"
    models.mkdir(parents=True, exist_ok=True)
    (models / "buys.sql").write_text(BUYS, encoding="utf-8")
    align(load_project(file))
    return Planted(folder)


@pytest.fixture
def planted(accepted_shop: Planted, tmp_path: Path) -> Planted:
    """A copy to plant a fault in."""
    shutil.copytree(accepted_shop.folder, tmp_path / "shop")
    return Planted(tmp_path / "shop")


@pytest.fixture
def timed(timed_shop: Planted, tmp_path: Path) -> Planted:
    """A copy that is asked in time."""
    shutil.copytree(timed_shop.folder, tmp_path / "shop")
    return Planted(tmp_path / "shop")
