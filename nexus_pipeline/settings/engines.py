"""The engines section of the project file."""

from typing import Literal

from pydantic import Field

from nexus_model.schema import Record


class EnginesConfig(Record):
    """Who does the work. Results are the same, so nothing is made anew when this changes."""

    alignment: Literal["duckdb", "spark"] = Field(
        "duckdb", description="finds the rows each sample sees; spark needs the extra spark, Java"
    )
    spark_master: str = Field(
        "local[*]", description="of spark; the environment's NEXUS_SPARK_MASTER goes before"
    )
    training: Literal["local", "ray"] = Field(
        "local", description="ray: a worker of a cluster trains; needs the extra ray"
    )
    ray_address: str | None = Field(
        None,
        description="of ray, such as 10.0.0.1:6379; a cluster of this machine if unset; the "
        "environment's RAY_ADDRESS goes before",
    )
