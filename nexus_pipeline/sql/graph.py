"""In which order SQL models run: each after all the models it reads."""

from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter

from nexus_model.schema import ConfigurationError
from nexus_pipeline.sql.model import SqlModel


def run_order(models: Mapping[str, SqlModel]) -> tuple[str, ...]:
    """Model names so that every model comes after those it reads; ties by name.

    Raises:
        ConfigurationError: models read each other in a circle; names the files.
    """
    sorter = TopologicalSorter(
        {name: [m for m in models if models[m].table in models[name].depends_on] for name in models}
    )
    try:
        sorter.prepare()
    except CycleError as error:
        # The error lists each file before the one that reads it.
        circle = [models[name].path.name for name in reversed(error.args[1])]
        raise ConfigurationError(f"SQL models read each other: {' -> '.join(circle)}") from error
    order: list[str] = []
    while sorter.is_active():
        ready = sorted(sorter.get_ready())
        order.extend(ready)
        sorter.done(*ready)
    return tuple(order)
