"""What runs by itself: asked without a daemon, and once with a real one."""

import hashlib
import os
import time
from pathlib import Path

import dagster as dg
import pytest

from nexus_pipeline.assembly import all_makings, build_definitions
from nexus_pipeline.automation.conditions import when_its_data_changed
from nexus_pipeline.automation.pending import pending
from nexus_pipeline.automation.told import WEBHOOK, NotToldError, message, tell
from nexus_pipeline.defs.making import EVERYTHING
from nexus_pipeline.defs.resources import default_resources, workshop
from nexus_pipeline.monitor.summary import DriftSummary
from tests.pipeline.conftest import Shop, in_its_home, run_shop

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.slow]
LONG_AGO = 1_700_000_000


def due(shop: Shop) -> list[str]:
    """What would be made, without the project's name."""
    patch, project = in_its_home(shop), shop.project
    try:
        given = default_resources(project)
        room = workshop(project, given["store"], given["progress"])
        everything = [making for making in all_makings(project) if making.job == EVERYTHING]
        return [key.partition("/")[2] for key in pending(room, everything, shop.tracker.uri)]
    finally:
        patch.undo()


def ticked(shop: Shop, name: str, instance: dg.DagsterInstance, cursor: str | None = None):
    """One tick of a schedule or of a sensor."""
    patch = in_its_home(shop)
    try:
        repository = build_definitions(shop.project).get_repository_def()
        if repository.has_schedule_def(name):
            with dg.build_schedule_context(instance, repository_def=repository) as context:
                return repository.get_schedule_def(name).evaluate_tick(context)
        with dg.build_sensor_context(instance, cursor, repository_def=repository) as context:
            return repository.get_sensor_def(name).evaluate_tick(context)
    finally:
        patch.undo()


def add_order(shop: Shop, written: float = LONG_AGO) -> None:
    """One more order in the raw file, as of a moment."""
    path = shop.raw / "orders.csv"
    number = path.read_text("utf-8").count("\n")
    with path.open("a", encoding="utf-8") as text:
        text.write(f"new-{number},1,2025-12-20,9.5\n")
    os.utime(path, (written, written))


def contents(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture
def instance(tmp_path_factory):
    """An instance on disk: a schedule's context opens it by where it is."""
    with dg.DagsterInstance.local_temp(str(tmp_path_factory.mktemp("instance"))) as found:
        yield found


@pytest.fixture
def memory():
    with dg.DagsterInstance.ephemeral() as found:
        yield found


def test_nothing_is_due_after_a_run(made):
    assert due(made) == []


def test_another_raw_content_makes_due_what_stands_on_it_and_no_other_table(copied):
    add_order(copied)
    found = due(copied)
    assert {"raw/orders", "validated/orders", "trained/churned", "served/champion_churned"} <= set(
        found
    )
    assert not {"raw/customers", "raw/tickets", "validated/tickets"} & set(found)


def test_another_way_of_training_makes_due_what_is_trained_and_later(copied):
    copied.say("epochs: 3", "epochs: 2")
    assert due(copied)[0] == "trained/churned"


def test_what_was_removed_is_due(copied):
    copied.artifact.unlink()
    (copied.folder / copied.record("evaluated/churned").stored.location).rename(
        copied.folder / "gone"
    )
    assert "evaluated/churned" in due(copied)


def test_a_scheduled_tick_that_finds_nothing_asks_for_nothing_and_writes_nothing(made, instance):
    before = contents(made.folder)
    tick = ticked(made, "shop_retraining", instance)
    assert (tick.run_requests, tick.skip_message) == ([], "nothing changed since the last run")
    assert contents(made.folder) == before


def test_a_scheduled_tick_after_a_change_asks_for_one_run_and_says_why(copied, instance):
    add_order(copied)
    [request] = ticked(copied, "shop_retraining", instance).run_requests
    assert "shop/raw/orders" in request.tags["nexusflow.why"]


@pytest.mark.parametrize("name", ["shop_retraining", "shop_new_files"])
def test_nothing_is_asked_for_while_a_run_is_under_way(copied, instance, name):
    add_order(copied)
    job = build_definitions(copied.project).resolve_job_def("shop_everything")
    instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED)
    assert "under way" in ticked(copied, name, instance).skip_message


def test_the_raw_files_that_were_loaded_ask_for_nothing(made, instance):
    tick = ticked(made, "shop_new_files", instance)
    assert tick.skip_message in {
        "every raw file is the one that was loaded",
        "still being written: customers, orders, tickets",
    }


def test_a_raw_file_that_is_still_written_is_left_for_the_next_look(copied, instance):
    add_order(copied, written=time.time())
    assert ticked(copied, "shop_new_files", instance).skip_message == (
        "still being written: orders"
    )


def test_another_content_asks_for_one_run_however_often_it_is_looked_at(copied, instance):
    for path in copied.raw.glob("*.csv"):
        os.utime(path, (LONG_AGO, LONG_AGO))
    add_order(copied)
    first = ticked(copied, "shop_new_files", instance)
    [request] = first.run_requests
    assert request.tags["nexusflow.why"] == "another content of orders"
    [again] = ticked(copied, "shop_new_files", instance, first.cursor).run_requests
    assert again.run_key == request.run_key


def test_a_content_that_comes_back_is_asked_for_again(copied, instance):
    path = copied.raw / "orders.csv"
    old = path.read_bytes()
    keys = []
    for content in (old + b"a-1,1,2025-12-20,9.5\n", old):
        path.write_bytes(content)
        for file in copied.raw.glob("*.csv"):
            os.utime(file, (LONG_AGO + len(keys), LONG_AGO + len(keys)))
        [request] = ticked(copied, "shop_new_files", instance).run_requests
        keys.append(request.run_key)
        run_shop(copied, stages=("raw",))
    assert keys[0] != keys[1]
    assert "loaded" in ticked(copied, "shop_new_files", instance).skip_message


DATA = dg.AssetKey("data")


def chain(passed: list[bool]) -> dg.Definitions:
    """An asset, its blocking check, and what is made from it by our condition."""

    @dg.asset(name="data")
    def data(context) -> dg.MaterializeResult:
        version = context.run.tags.get("version", "1")
        return dg.MaterializeResult(data_version=dg.DataVersion(version))

    @dg.asset_check(asset=data, blocking=True)
    def sound() -> dg.AssetCheckResult:
        return dg.AssetCheckResult(passed=passed[-1])

    @dg.asset(deps=[data], automation_condition=when_its_data_changed())
    def model() -> None: ...

    return dg.Definitions(assets=[data, model], asset_checks=[sound])


def asked(defs: dg.Definitions, instance: dg.DagsterInstance, cursor=None):
    found = dg.evaluate_automation_conditions(defs, instance=instance, cursor=cursor)
    return found.total_requested, found.cursor


def make(defs: dg.Definitions, instance: dg.DagsterInstance, key: str, version: str) -> None:
    job = defs.resolve_implicit_global_asset_job_def()
    job.execute_in_process(
        instance=instance,
        asset_selection=[dg.AssetKey(key)],
        tags={"version": version},
        raise_on_error=False,
    )


def test_a_model_is_made_when_data_changed_and_passed_and_not_when_it_is_the_same(memory):
    passed = [True]
    defs = chain(passed)
    nothing, cursor = asked(defs, memory)
    make(defs, memory, "data", "1")
    first, cursor = asked(defs, memory, cursor)
    make(defs, memory, "model", "1")
    settled, cursor = asked(defs, memory, cursor)
    make(defs, memory, "data", "1")
    same, cursor = asked(defs, memory, cursor)
    make(defs, memory, "data", "2")
    changed, cursor = asked(defs, memory, cursor)
    assert (nothing, first, settled, same, changed) == (0, 1, 0, 0, 1)


def test_a_model_waits_for_a_failed_check_and_is_made_once_it_passes(memory):
    passed = [True]
    defs = chain(passed)
    make(defs, memory, "data", "1")
    make(defs, memory, "model", "1")
    _, cursor = asked(defs, memory)
    passed.append(False)
    make(defs, memory, "data", "2")
    blocked, cursor = asked(defs, memory, cursor)
    passed.append(True)
    check = dg.AssetSelection.checks_for_assets(DATA)
    defs.resolve_implicit_global_asset_job_def()
    checks = dg.define_asset_job("checks", selection=check)
    looking = dg.Definitions.merge(defs, dg.Definitions(jobs=[checks]))
    looking.resolve_job_def("checks").execute_in_process(instance=memory)
    sound, _ = asked(defs, memory, cursor)
    assert (blocked, sound) == (0, 1)


def test_everything_made_from_other_assets_has_the_condition_and_nothing_else(made):
    found = build_definitions(made.project)
    makings = {making.key: making for making in all_makings(made.project)}
    with_condition = {
        spec.key.to_user_string()
        for spec in found.resolve_all_asset_specs()
        if spec.automation_condition is not None
    }
    by_itself = {key for key, m in makings.items() if m.upstream and m.job == EVERYTHING}
    assert with_condition == by_itself


def ended(defs: dg.Definitions, job: str, instance: dg.DagsterInstance):
    return defs.resolve_job_def(job).execute_in_process(instance=instance, raise_on_error=False)


def test_a_failed_run_is_posted_with_the_cause_a_person_needs(fresh, memory, listener):
    taken, _ = listener
    (fresh.raw / "orders.csv").unlink()
    patch = in_its_home(fresh)
    try:
        defs = build_definitions(fresh.project)
        result = ended(defs, "shop_everything", memory)
        [event] = [e for e in result.all_events if e.event_type_value == "PIPELINE_FAILURE"]
        context = dg.build_run_status_sensor_context(
            "shop_tell_failure", event, memory, result.dagster_run
        )
        defs.get_repository_def().get_sensor_def("shop_tell_failure")(context.for_run_failure())
    finally:
        patch.undo()
    [told] = taken
    assert (told["status"], told["job"]) == ("failed", "shop_everything")
    assert "orders" in told["error"]


def test_a_run_that_succeeded_is_posted(made, memory, listener):
    taken, _ = listener
    job = build_definitions(made.project).resolve_job_def("shop_everything")
    run = memory.create_run_for_job(job, tags={"nexusflow.why": "a new file"})
    tell(message(made.project, run, None))
    assert taken[0]["text"] == "shop: shop_everything succeeded"
    assert taken[0]["why"] == "a new file"


@pytest.mark.parametrize("code", [404, 500])
def test_a_webhook_that_refuses_is_named_without_its_address(listener, code):
    listener[1].append(code)
    with pytest.raises(NotToldError, match=f"the server answered {code}") as told:
        tell({"text": "x"})
    assert "secret" not in str(told.value)


def test_without_a_webhook_nothing_is_posted_and_a_wrong_one_is_refused(monkeypatch):
    monkeypatch.delenv(WEBHOOK, raising=False)
    tell({"text": "x"})
    monkeypatch.setenv(WEBHOOK, "file:///etc/passwd")
    with pytest.raises(NotToldError, match="http or https"):
        tell({"text": "x"})


def test_everything_is_off_until_somebody_switches_it_on(made):
    repository = build_definitions(made.project).get_repository_def()
    states = {s.name: s.default_status.value for s in repository.schedule_defs}
    states |= {s.name: s.default_status.value for s in repository.sensor_defs}
    assert len(states) >= 7
    assert set(states.values()) == {"STOPPED"}


def drifted(shop: Shop, version: str, *, alarm: bool = True) -> None:
    """As monitoring leaves it."""
    folder = shop.folder / "data/evaluated/shop/drift_churned/latest"
    folder.mkdir(parents=True, exist_ok=True)
    summary = DriftSummary(
        project="shop",
        task="churned",
        day="",
        alarm=alarm,
        moved=("orders.amount",) if alarm else (),
        told="orders.amount moved" if alarm else "nothing moved",
        champion="1",
        data_version=version,
    )
    (folder / "summary.json").write_text(summary.model_dump_json(), encoding="utf-8")


def test_drift_asks_for_one_retraining_for_the_data_that_drifted(copied, instance):
    assert ticked(copied, "shop_drift", instance).skip_message == "nothing was monitored yet"
    drifted(copied, "v1", alarm=False)
    assert ticked(copied, "shop_drift", instance).skip_message.startswith("no alarm")
    drifted(copied, "v2")
    first = ticked(copied, "shop_drift", instance)
    [request] = first.run_requests
    assert request.tags["nexusflow.why"] == "orders.amount moved"
    assert "v2" in request.run_key
    again = ticked(copied, "shop_drift", instance, first.cursor)
    assert again.skip_message == "no alarm that was not acted on: churned"
    drifted(copied, "v3")
    [other] = ticked(copied, "shop_drift", instance, first.cursor).run_requests
    assert other.run_key != request.run_key
