"""A process that has imported everything and forks: each command is a process of its own, at once.

Reads one JSON request a line and answers with one: ``start`` gives a pid, ``wait`` its exit code,
negative for the signal that ended it. A command may be ``stages`` of the project instead.
"""

import gc
import importlib
import json
import os
import pkgutil
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any


def import_everything() -> None:
    """What a run needs, so that a forked process need not."""
    import lightgbm
    import mlflow.pyfunc
    import pandera.polars
    import polars as pl
    import torch

    import nexus_pipeline.defs
    import nexus_pipeline.expect
    import nexus_pipeline.lineage
    import nexus_pipeline.steps
    from nexus_pipeline import cli, run

    assert all((lightgbm, mlflow.pyfunc, pandera.polars, pl, cli, run))
    packages = (nexus_pipeline.steps, nexus_pipeline.defs, nexus_pipeline.expect,
                nexus_pipeline.lineage)  # fmt: skip
    for package in packages:
        for found in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            importlib.import_module(found.name)
    torch.set_num_threads(1)


def import_again(names: list[str]) -> None:
    """What a whole run imported on its way, as far as it can be imported alone."""
    for name in names:
        if name != "__main__" and not name.startswith("benchmarks"):
            with suppress(Exception):
                importlib.import_module(name)


def work(request: dict[str, Any]) -> None:
    """What the forked process does; it never comes back."""
    told = os.open(request["out"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(told, 1)
    os.dup2(told, 2)
    os.setsid()
    os.environ.update(request["environment"])
    os.chdir(request["folder"])
    code = 1
    try:
        code = _do(request)
    except BaseException:  # noqa: BLE001 - told, and the process ends
        import traceback

        traceback.print_exc()
    os._exit(code)


def _do(request: dict[str, Any]) -> int:
    from nexus_pipeline import cli, run

    if request.get("fault"):
        from benchmarks.faults.inject import arrange

        arrange(request["fault"], Path(request["place"]))
    if "stages" in request:
        run.materialize(Path("nexusflow.yaml").resolve(), stages=request["stages"])
        modules = Path(request["place"]) / "modules.json"
        modules.write_text(json.dumps(list(sys.modules)), encoding="utf-8")
        return 0
    sys.argv = ["nexusflow", *request["words"]]
    sys.stdout = os.fdopen(1, "w", buffering=1)
    sys.stderr = os.fdopen(2, "w", buffering=1)
    cli.main()
    return 0


def main() -> None:
    """Answer until there are no more requests."""
    import_everything()
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    threads = len(list(Path("/proc/self/task").iterdir()))
    answers.write(json.dumps({"ready": True, "threads": threads}) + "\n")
    for line in sys.stdin:
        request = json.loads(line)
        if request["do"] == "wait":
            _, status, used = os.wait4(request["pid"], 0)
            told = {"code": os.waitstatus_to_exitcode(status)}
            answers.write(json.dumps({**told, "cpu_s": used.ru_utime + used.ru_stime}) + "\n")
            continue
        if request["do"] == "import":
            import_again(json.loads(Path(request["file"]).read_text(encoding="utf-8")))
            answers.write(json.dumps({"done": True}) + "\n")
            continue
        # What the collector looks at is copied: it need not look at what is there already.
        gc.freeze()
        pid = os.fork()
        if pid == 0:
            work(request)
        answers.write(json.dumps({"pid": pid}) + "\n")


if __name__ == "__main__":
    main()
