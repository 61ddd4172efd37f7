"""Commands a project begins with: init, schema, generate."""

from pathlib import Path
from typing import Annotated

import typer

from nexus_pipeline.answer import Answer


def init(
    name: Annotated[str, typer.Argument(help="name of the project and of its folder")],
    tables: Annotated[Path | None, typer.Option("--from", help="folder of your tables")] = None,
    target: Annotated[str | None, typer.Option(help="table.column to predict")] = None,
    example: Annotated[
        str | None, typer.Option(help="f1, shop, flights, baseball or retail")
    ] = None,
) -> Answer:
    """Make a project folder: from your tables, or from an example; the file says why.

    Example: nexusflow init shop

    Example: nexusflow init sales --from exports --target customers.churned

    Example: nexusflow init races --example f1
    """
    from nexus_model.schema import ConfigurationError
    from nexus_pipeline.gallery import create_example
    from nexus_pipeline.propose.new_project import init_project

    if example is not None and (tables, target) != (None, None):
        raise ConfigurationError("--example brings its own tables and target; leave out the others")
    here = Path.cwd()
    if example is None:
        lines = init_project(here, name, tables, target)
    else:
        lines = create_example(here, name, example)
    return Answer({"folder": str(here / name), "said": lines}, lines)


def schema(
    to: Annotated[Path, typer.Option(help="file to write")] = Path("nexusflow.schema.json"),
) -> Answer:
    """Write the JSON Schema of the project file, for editors that complete and check it.

    Example: nexusflow schema --to nexusflow.schema.json
    """
    from nexus_pipeline.propose.project_schema import project_schema_text

    to.write_text(project_schema_text(), encoding="utf-8")
    line = f"# yaml-language-server: $schema={to}"
    return Answer(
        {"file": str(to), "first_line": line},
        (f"wrote {to}; first line of the project file: {line}",),
    )


def generate(
    kind: Annotated[str, typer.Argument(help="what to generate: shop")],
    rows: Annotated[int, typer.Option(help="customers")] = 4000,
    seed: Annotated[int, typer.Option(help="the same seed gives the same bytes")] = 0,
    to: Annotated[Path, typer.Option(help="folder of the new project")] = Path("shop"),
) -> Answer:
    """Write a database whose label probabilities are known, and a project file that learns it.

    Example: nexusflow generate shop --rows 4000 --seed 0 --to shop
    """
    from nexus_pipeline.generate.shop import generate_project

    report = generate_project(kind, to, rows, seed)
    facts = {
        "folder": str(to),
        "rows": dict(report.rows),
        "base_rate": report.base_rate,
        "bayes_auroc": report.bayes_auc,
    }
    return Answer(
        facts,
        (
            f"made {to}: {sum(report.rows.values()):,} rows in {len(report.rows)} tables",
            f"churned: {report.base_rate:.3f}; best possible AUROC {report.bayes_auc:.4f}",
            f"next: cd {to} && nexusflow train",
        ),
    )
