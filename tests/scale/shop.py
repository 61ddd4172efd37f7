"""The project of a small shop: customers and their orders."""

from nexus_pipeline.project import ProjectConfig

DATASETS = [
    {"name": "customers", "primary_key": "id"},
    {
        "name": "orders",
        "primary_key": "id",
        "time_column": "at",
        "foreign_keys": [{"columns": "customer_id", "references_table": "customers"}],
    },
]


def shop_project(root, target, **told):
    """A project whose customers have ``target``."""
    return ProjectConfig(
        project_name="shop",
        datasets=DATASETS,
        target={"target_table": "customers", "target_column": target},
        root=root,
        **told,
    )
