"""Where the steps of a run live: in its own process, or each in a process of its own."""

from typing import assert_never

import dagster as dg

from nexus_pipeline.project import ProjectConfig

# What every step would load again: forked, it is there at once.
PRELOADED = ["dagster", "duckdb", "polars", "nexus_pipeline.assembly"]
STEPS_AT_ONCE = 2


def build_executor(project: ProjectConfig) -> dg.ExecutorDefinition:
    """The executor the project asks for.

    Steps in processes of their own wait for the store in the pool ``build_asset`` gives them.
    """
    match project.automation.executor:
        case "in_process":
            return dg.in_process_executor
        case "multiprocess":
            return dg.multiprocess_executor.configured(
                {
                    "max_concurrent": STEPS_AT_ONCE,
                    "start_method": {"forkserver": {"preload_modules": PRELOADED}},
                }
            )
        case other:
            assert_never(other)
