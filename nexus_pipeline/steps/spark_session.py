"""A Spark session for as long as it is needed: on this machine, or on the cluster that is named."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from nexus_model.schema import ConfigurationError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

MASTER = "NEXUS_SPARK_MASTER"


@contextmanager
def spark_session(master: str, scratch: Path) -> "Iterator[SparkSession]":
    """The process's session, or a new one that ends with the block.

    The environment's NEXUS_SPARK_MASTER goes before ``master``; everything else is as Spark's own
    ``spark-defaults.conf`` says. No page is served.

    Raises:
        ConfigurationError: PySpark or Java is not installed, or the master does not answer.
    """
    master = os.environ.get(MASTER) or master
    try:
        from py4j.protocol import Py4JError
        from pyspark.errors import PySparkException
        from pyspark.sql import SparkSession
    except ImportError as error:
        raise ConfigurationError(
            "engines.alignment: spark needs PySpark: pip install 'nexusflow[spark]'"
        ) from error
    running = SparkSession.getActiveSession()
    if running is not None:
        yield running
        return
    _assert_java()
    builder = SparkSession.builder.master(master).appName("nexusflow")
    for key, value in _settings(master, scratch).items():
        builder = builder.config(key, value)
    try:
        spark = builder.getOrCreate()
    except (PySparkException, Py4JError) as error:
        lines = str(error).splitlines()
        told = next((line[2:] for line in lines if line.startswith(": ")), lines[0])
        raise ConfigurationError(
            f"engines.spark_master: {master} gives no session: {told}"
        ) from error
    try:
        spark.sparkContext.setLogLevel("ERROR")
        yield spark
    finally:
        spark.stop()


def _settings(master: str, scratch: Path) -> dict[str, str]:
    found = {
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.sql.warehouse.dir": str(scratch / "warehouse"),
    }
    if master.startswith("local"):
        here = "127.0.0.1"
        found |= {"spark.driver.host": here, "spark.driver.bindAddress": here}
    return found


def _assert_java() -> None:
    home = os.environ.get("JAVA_HOME")
    found = (Path(home) / "bin" / "java").is_file() if home else shutil.which("java") is not None
    if not found:
        raise ConfigurationError(
            "engines.alignment: spark needs Java 17 or later: no java in PATH, none in JAVA_HOME"
        )
