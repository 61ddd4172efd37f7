"""Calls of one function on the workers of a Ray cluster, as many at once as there is room for."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from nexus_model.schema import ConfigurationError, NexusError, TrainingError

ADDRESS = "RAY_ADDRESS"
# Where a worker looks for what this process reads; the rest of its environment is its own.
TAKEN_ALONG = ("NEXUS_DATA", "NEXUS_HOME", "NEXUS_RAW", "OMP_NUM_THREADS", "NEXUS_STORE_MEMORY")
TRIES_AGAIN = 2
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing is told to anybody outside
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


class Needs(NamedTuple):
    """What one call takes of a worker."""

    cpus: float = 1.0
    gpus: float = 0.0


class Outcome(NamedTuple):
    """What a call gave, or the exit code and words it failed with; and where it ran."""

    value: Any
    failed: tuple[int, str] | None
    node: str


@contextmanager
def ray_cluster(address: str | None) -> Iterator[Any]:
    """The ``ray`` module, connected: to what the process is connected to already, to the address
    (the environment's RAY_ADDRESS goes before), or to a cluster of this machine alone.

    Raises:
        ConfigurationError: Ray is not installed, or nobody answers.
    """
    os.environ.update(QUIET)
    try:
        import ray
    except ImportError as error:
        raise ConfigurationError(
            "engines.training: ray needs Ray: pip install 'nexusflow[ray]'"
        ) from error
    if ray.is_initialized():
        yield ray
        return
    place = os.environ.get(ADDRESS) or address
    here: dict[str, Any] = {} if place else {"include_dashboard": False}
    try:
        ray.init(address=place, log_to_driver=False, logging_level="ERROR", **here)
    except (ConnectionError, RuntimeError, ValueError) as error:
        told = str(error).splitlines()[0]
        raise ConfigurationError(
            f"engines.ray_address: {place} gives no cluster: {told}"
        ) from error
    try:
        yield ray
    finally:
        ray.shutdown()


def on_ray(
    ray: Any,
    function: Callable[..., Any],
    arguments: Sequence[tuple[Any, ...]],
    needs: Needs,
) -> list[Outcome]:
    """Call ``function`` with each tuple of arguments, each call in a worker process; in order.

    A call whose worker is lost is made again, twice at most, on whatever machine has room.

    Raises:
        ConfigurationError, TrainingError: of the first call that failed.
    """
    from ray.exceptions import RayError

    _assert_room(ray.cluster_resources(), needs)
    taken = {name: os.environ[name] for name in TAKEN_ALONG if name in os.environ}
    remote = ray.remote(_called).options(
        num_cpus=needs.cpus,
        num_gpus=needs.gpus,
        max_retries=TRIES_AGAIN,
        scheduling_strategy="SPREAD",
        runtime_env={"env_vars": {**QUIET, **taken}},
    )
    waiting = [remote.remote(function, one) for one in arguments]
    try:
        outcomes: list[Outcome] = [Outcome(*found) for found in ray.get(waiting)]
    except RayError as error:
        told = str(error).strip().splitlines()[0]
        raise TrainingError(f"a worker of the cluster was lost or failed: {told}") from error
    for outcome in outcomes:
        if outcome.failed is not None:
            raise _as_error(*outcome.failed)
    return outcomes


def _called(function: Callable[..., Any], arguments: tuple[Any, ...]) -> tuple[Any, Any, str]:
    """In a worker: errors of ours travel as words, since their classes need not."""
    import ray

    node = str(ray.get_runtime_context().get_node_id())
    try:
        return function(*arguments), None, node
    except NexusError as error:
        return None, (error.exit_code, str(error)), node


def _as_error(code: int, told: str) -> NexusError:
    if code == ConfigurationError.exit_code:
        return ConfigurationError(told)
    return TrainingError(told)


def _assert_room(there: Mapping[str, float], needs: Needs) -> None:
    """Refuse what no machine can ever give: Ray itself would wait for one to come.

    Raises:
        ConfigurationError: more CPUs or GPUs are needed than the whole cluster has.
    """
    for name, needed in (("CPU", needs.cpus), ("GPU", needs.gpus)):
        found = there.get(name, 0.0)
        if needed > found:
            raise ConfigurationError(
                f"a training needs {needed:g} {name}; the Ray cluster has {found:g}"
            )
