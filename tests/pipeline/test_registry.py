"""The model registry: no version is champion without its own open gate, and there is a way back."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from nexus_model.schema import ConfigurationError
from nexus_pipeline.lineage.audit import AuditError
from nexus_pipeline.steps import registry
from nexus_pipeline.steps.champion import GATE
from nexus_pipeline.steps.gate import Gate
from nexus_pipeline.steps.registry import versions
from tests.pipeline.conftest import told

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.slow]
NAME = "shop-churned"


def promote(client, name, version):
    return registry.promote(client, name, version, lambda what, facts: "")


def roll_back(client, name):
    return registry.roll_back(client, name, lambda what, facts: "")


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    from mlflow import MlflowClient

    file = tmp_path_factory.mktemp("registry") / "mlflow.db"
    return MlflowClient(tracking_uri=f"sqlite:///{file}")


@pytest.fixture
def name(client, request):
    """A model of its own for each test."""
    own = f"shop-{request.node.name}"[:100].replace("[", "-").replace("]", "")
    client.create_registered_model(own)
    return own


def gate(version, *, passed=True, artifact="a"):
    return Gate(
        version=version,
        artifact_sha256=artifact,
        metric="auroc",
        score=0.7,
        rival="entity_mean",
        rival_score=0.6 if passed else 0.8,
        passed=passed,
        reason="beats entity_mean" if passed else "does not beat entity_mean",
    )


def registered(client, name, judged=None, **tags):
    """A new version with these tags and this gate; its number."""
    run = client.create_run("0")
    source = f"{run.info.artifact_uri}/model"
    made = client.create_model_version(name, source, run.info.run_id)
    version = str(made.version)
    for key, value in {"artifact_sha256": "a", **tags}.items():
        client.set_model_version_tag(name, version, key, value)
    if judged:
        client.set_model_version_tag(name, version, GATE, judged(version).model_dump_json())
    return version


def test_a_version_with_an_open_gate_becomes_champion_and_there_is_a_way_back(client, name):
    first, second = (registered(client, name, gate) for _ in range(2))
    assert promote(client, name, first).aliases == ("champion",)
    assert promote(client, name, second).aliases == ("champion",)
    assert roll_back(client, name).version == first
    states = {found.version: found.state for found in versions(client, name)}
    assert states == {first: "champion", second: "passed"}
    with pytest.raises(ConfigurationError, match="nobody was champion before"):
        roll_back(client, name)


def test_nothing_is_moved_that_cannot_be_noted(client, name):
    first, second = (registered(client, name, gate) for _ in range(2))
    said = []
    registry.promote(client, name, first, lambda what, facts: said.append((what, facts)) or "")
    assert [(what, facts["version"], facts["champion_before"]) for what, facts in said] == [
        ("promoted", first, ""),
    ]  # fmt: skip

    def unwritable(what, facts):
        raise AuditError("not written")

    with pytest.raises(AuditError):
        registry.promote(client, name, second, unwritable)
    promote(client, name, second)
    with pytest.raises(AuditError):
        registry.roll_back(client, name, unwritable)
    assert str(client.get_registered_model(name).aliases["champion"]) == second


def test_promoting_the_champion_again_keeps_the_way_back(client, name):
    first, second = (registered(client, name, gate) for _ in range(2))
    for version in (first, second, second):
        promote(client, name, version)
    assert roll_back(client, name).version == first


@pytest.mark.parametrize(
    ("judged", "told"),
    [
        (None, "has passed no gate"),
        (lambda version: gate(version, passed=False), "does not beat entity_mean"),
        (lambda version: gate("99"), "gate is of version 99"),
        (lambda version: gate(version, artifact="b"), "another artifact"),
    ],
    ids=["none", "closed", "other-version", "other-artifact"],
)
def test_a_version_without_its_own_open_gate_is_not_promoted(client, name, judged, told):
    champion = registered(client, name, gate)
    promote(client, name, champion)
    with pytest.raises(ConfigurationError, match=told):
        promote(client, name, registered(client, name, judged))
    assert str(client.get_model_version_by_alias(name, "champion").version) == champion


def test_what_is_not_there_is_answered_with_what_is(client, name):
    version = registered(client, name, gate)
    with pytest.raises(ConfigurationError, match=f"no version '7'; it has {version}"):
        promote(client, name, "7")
    with pytest.raises(ConfigurationError, match=f"known are: .*{name}"):
        versions(client, "shop-nothing")
    with pytest.raises(ConfigurationError, match="no champion"):
        roll_back(client, name)


def test_trainings_at_the_same_time_get_versions_of_their_own(client, name):
    with ThreadPoolExecutor(4) as several:
        made = list(several.map(lambda _: registered(client, name), range(8)))
    assert len(set(made)) == 8
    assert [found.version for found in versions(client, name)] == sorted(made, key=int)[::-1]


def test_the_commands_tell_of_a_trained_project(made):
    code, output = told(made, "models", "list")
    assert (code, output.startswith(f"{NAME} 1 (challenger, champion)")) == (0, True), output
    assert "on validation, beats" in output
    assert told(made, "models", "compare", NAME, "1", "champion")[1].splitlines()[1:] == [
        f"{part}: the same" for part in ("data", "configuration", "code", "packages", "metrics")
    ]  # fmt: skip
    assert told(made, "models", "promote", NAME, "1")[0] == 0
    code, output = told(made, "models", "rollback", NAME)
    assert (code, "nobody was champion before version 1" in output) == (2, True), output
