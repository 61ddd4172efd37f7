"""The repository speaks of the product alone, and its pages tell the truth about its folders."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
TEXTS = {".py", ".md", ".toml", ".yaml", ".yml", ".sql", ".cff", ".txt", ""}


def tracked() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_the_readmes_tree_is_on_disk():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    named = re.findall(r"^([a-z_]+)/ ", readme, flags=re.MULTILINE)
    assert len(named) >= 7
    assert [name for name in named if not (ROOT / name).is_dir()] == []


def test_the_readme_names_every_folder_that_is_tracked():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    folders = {path.relative_to(ROOT).parts[0] for path in tracked() if path.parent != ROOT}
    assert [name for name in folders if name[0] != "." and f"\n{name}/ " not in readme] == []


def test_no_tracked_file_is_larger_than_two_megabytes():
    assert [path for path in tracked() if path.stat().st_size > 2_000_000] == []


def test_no_text_names_a_machine_path_or_a_package_index():
    forbidden = re.compile("/" + "work/|" + "/" + "root/|index" + "-url|find" + "-links")
    found = [
        path.relative_to(ROOT)
        for path in tracked()
        if path.suffix in TEXTS and forbidden.search(path.read_text("utf-8", errors="replace"))
    ]
    assert found == []


def test_workspace_and_pyproject_name_the_same_location():
    workspace = yaml.safe_load((ROOT / "workspace.yaml").read_text())["load_from"][0]
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["dagster"]
    assert workspace["python_module"] == {
        "module_name": pyproject["module_name"],
        "location_name": pyproject["code_location_name"],
    }


def test_constraints_pin_torch_to_the_build_we_test():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    assert "torch==2.13.0" in lines
    assert all(re.fullmatch(r"[A-Za-z0-9_.\-]+==[^\s@]+", line) for line in lines if line)


def test_import_contracts_are_kept():
    linter = Path(sys.executable).parent / "lint-imports"
    done = subprocess.run([linter], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
