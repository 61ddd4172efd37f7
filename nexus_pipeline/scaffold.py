"""A new project: a folder with a project file and small made-up tables to start from.

The tables are a shop: customers, their orders and tickets. Whether a customer churns depends on how
many orders there were lately and on the mood of the tickets, so that linked tables matter.
"""

import datetime as dt
from pathlib import Path

import numpy as np

from nexus_model.schema import ConfigurationError

CUSTOMERS = 600
REGIONS = ("north", "south", "east", "west")
MOODS = ("fine", "slow", "broken")
PROJECT_FILE = """\
project_name: {name}
target: {{target_table: customers, target_column: churned}}
datasets:
  - {{name: customers.csv, primary_key: customer_id}}
  - name: orders.csv
    primary_key: order_id
    time_column: placed_at
    foreign_keys: [{{columns: customer_id, references_table: customers}}]
  - name: tickets.csv
    primary_key: ticket_id
    time_column: opened_at
    foreign_keys: [{{columns: customer_id, references_table: customers}}]
"""
WORKSPACE_FILE = """\
load_from:
  - python_module:
      module_name: nexus_pipeline.definitions
      location_name: nexusflow
"""


def create_project(parent: Path, name: str) -> Path:
    """Make ``parent/name`` with ``nexusflow.yaml`` and ``data/raw/<name>/*.csv``; its path.

    Raises:
        ConfigurationError: the name cannot be a project's, or the folder is there already.
    """
    folder = check_new(parent, name)
    raw = folder / "data" / "raw" / name
    raw.mkdir(parents=True)
    (folder / "nexusflow.yaml").write_text(PROJECT_FILE.format(name=name), encoding="utf-8")
    (folder / "workspace.yaml").write_text(WORKSPACE_FILE, encoding="utf-8")
    write_shop(raw)
    return folder


def check_new(parent: Path, name: str) -> Path:
    """Where a new project of this name goes.

    Raises:
        ConfigurationError: the name cannot be a project's, or the folder is there already.
    """
    if not name.isidentifier() or name != name.lower() or not name[0].isalpha():
        raise ConfigurationError(
            f"project name must be lower-case letters, digits and _, got {name!r}"
        )
    folder = parent / name
    if folder.exists():
        raise ConfigurationError(f"{folder} is there already; nothing was changed")
    return folder


def write_shop(folder: Path, customers: int = CUSTOMERS, seed: int = 0) -> None:
    """Write ``customers.csv``, ``orders.csv`` and ``tickets.csv``; same seed, same bytes."""
    rng = np.random.default_rng(seed)
    today = dt.date(2026, 1, 1)
    people, orders, tickets = (
        ["customer_id,region,age,churned"],
        ["order_id,customer_id,placed_at,amount"],
        ["ticket_id,customer_id,opened_at,mood"],
    )
    for customer in range(customers):
        recent, moods = int(rng.poisson(3)), rng.integers(0, 3, int(rng.poisson(2)))
        for order in range(recent):
            day = today - dt.timedelta(days=int(rng.integers(1, 180)))
            amount = float(np.round(rng.gamma(2.0, 30.0), 2))
            orders.append(f"{customer}-{order},{customer},{day},{amount}")
        for ticket, mood in enumerate(moods):
            day = today - dt.timedelta(days=int(rng.integers(1, 180)))
            tickets.append(f"{customer}-{ticket},{customer},{day},{MOODS[mood]}")
        logit = 1.5 - 0.9 * recent + 1.2 * int((moods == 2).sum())
        churned = int(rng.random() < 1 / (1 + np.exp(-logit)))
        age, region = int(rng.integers(18, 80)), REGIONS[int(rng.integers(0, 4))]
        people.append(f"{customer},{region},{age},{churned}")
    for name, lines in (("customers", people), ("orders", orders), ("tickets", tickets)):
        (folder / f"{name}.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
