"""An engine that is not there is said in one line, with the exit code of a configuration."""

import sys

import pytest

from nexus_model.schema import ConfigurationError
from nexus_pipeline.scale.ray_cluster import QUIET, ray_cluster
from nexus_pipeline.steps.spark_session import spark_session


def test_spark_without_pyspark_names_the_extra(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "pyspark", None)
    monkeypatch.setitem(sys.modules, "py4j.protocol", None)
    with (
        pytest.raises(ConfigurationError, match=r"nexusflow\[spark\]") as told,
        spark_session("local[1]", tmp_path),
    ):
        pass
    assert told.value.exit_code == 2


def test_spark_without_java_says_so(monkeypatch, tmp_path):
    pytest.importorskip("pyspark", reason="needs PySpark: pip install 'nexusflow[spark]'")
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("JAVA_HOME", raising=False)
    with pytest.raises(ConfigurationError, match="Java 17"), spark_session("local[1]", tmp_path):
        pass


def test_a_master_in_the_environment_goes_before_the_files(monkeypatch, tmp_path):
    pytest.importorskip("pyspark", reason="needs PySpark: pip install 'nexusflow[spark]'")
    monkeypatch.setenv("NEXUS_SPARK_MASTER", "nowhere")
    told = "spark_master: nowhere gives no session"
    with pytest.raises(ConfigurationError, match=told), spark_session("local[1]", tmp_path):
        pass


def test_ray_without_ray_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    for name in QUIET:
        monkeypatch.setenv(name, "")
    with pytest.raises(ConfigurationError, match=r"nexusflow\[ray\]"), ray_cluster(None):
        pass
