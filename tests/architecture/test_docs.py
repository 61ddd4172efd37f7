"""The documentation: its pages build, ask nothing of the network, and say what is so."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from nexus_pipeline.project import load_project
from nexus_pipeline.scaffold import create_project

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
SOURCES = "\n".join(
    path.read_text(encoding="utf-8")
    for package in ("nexus_model", "nexus_pipeline")
    for path in sorted((ROOT / package).rglob("*.py"))
)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The pages, built as ``make docs`` does."""
    folder = tmp_path_factory.mktemp("site")
    script = Path(sys.executable).parent / "mkdocs"
    command = [str(script), "build", "--quiet", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


def pages(site):
    return {
        path.relative_to(site).as_posix(): path.read_text("utf-8") for path in site.rglob("*.html")
    }


@pytest.mark.slow
def test_no_page_asks_anything_of_the_network(site):
    asked = re.compile(r"""<(?:script|link|img|iframe)\b[^>]*(?:src|href)=["']?(?:https?:)?//""")
    assert [name for name, text in pages(site).items() if asked.search(text)] == []


@pytest.mark.slow
def test_equations_are_drawn_and_none_is_left_as_text(site):
    text = pages(site)["concepts.html"]
    assert text.count("<math") >= 20
    assert "&lt;math" not in text
    assert "$`" not in text


@pytest.mark.slow
def test_every_page_of_the_documents_is_in_the_contents(site):
    written = {
        path.relative_to(DOCS).with_suffix(".html").as_posix() for path in DOCS.rglob("*.md")
    }
    contents = (site / "index.html").read_text("utf-8")
    linked = set(re.findall(r'href="([\w/.-]+\.html)"', contents))
    assert written - linked - {"index.html"} == set()


@pytest.mark.slow
def test_help_texts_stand_in_the_reference(site):
    text = pages(site)["reference/command.html"]
    assert "nexusflow models rollback" in text
    assert "help of every command" not in text


def messages():
    lines = (DOCS / "troubleshooting.md").read_text("utf-8").splitlines()
    found = [re.match(r"\| `([^`]+)` \|", line) for line in lines]
    return [match[1] for match in found if match]


@pytest.mark.parametrize("message", messages())
def test_a_message_to_look_up_is_one_that_is_printed(message):
    assert all(part in SOURCES for part in re.split(r" ?<\w+> ?", message) if part)


def shown_yaml(page):
    return re.findall(
        r"^```yaml\n(.*?)^```", (DOCS / page).read_text("utf-8"), re.MULTILINE | re.DOTALL
    )


@pytest.mark.parametrize("shown", shown_yaml("how-to.md"))
def test_what_is_shown_of_a_project_file_can_be_said(tmp_path, shown):
    file = create_project(tmp_path, "shop") / "nexusflow.yaml"
    project, said = yaml.safe_load(file.read_text("utf-8")), yaml.safe_load(shown)
    for dataset in said.pop("datasets", []):
        next(d for d in project["datasets"] if d["name"] == dataset["name"]).update(dataset)
    file.write_text(yaml.safe_dump(project | said), encoding="utf-8")
    load_project(file)
