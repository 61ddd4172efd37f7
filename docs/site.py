"""What the pages need beside Markdown: pages from elsewhere, help texts, equations as MathML."""

import posixpath
import re
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
HELP = ROOT / "tests" / "pipeline" / "help"
# Pages that lie elsewhere in the repository, and where they are on the site.
ELSEWHERE = {
    "benchmarks/quality/README.md": "measured/quality.md",
    "benchmarks/encoders/README.md": "measured/encoders.md",
    "benchmarks/shop/README.md": "measured/shop.md",
    **{
        f"benchmarks/results/{p.name}": f"measured/{p.name}"
        for p in ROOT.glob("benchmarks/results/*.md")
    },
    **{
        f"examples/{p.parent.name}/README.md": f"gallery/{p.parent.name}.md"
        for p in ROOT.glob("examples/*/README.md")
    },
}
PLACES = {target: source for source, target in ELSEWHERE.items()}
_LINK = re.compile(r"\[([^\]]+)\]\(([^)#\s:]+)(#[^)\s]*)?\)")
_BLOCK = re.compile(r"^```math\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"\$`([^`]+)`\$")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that lie elsewhere."""
    for source, target in ELSEWHERE.items():
        files.append(File.generated(config, target, abs_src_path=str(ROOT / source)))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Help texts and equations filled in, links led to where their page is on the site."""
    here = page.file.src_uri
    text = markdown.replace("<!-- help of every command -->", _help_texts())
    text = _BLOCK.sub(lambda found: f"\n{_mathml(found[1], 'block')}\n", text)
    text = _INLINE.sub(lambda found: _mathml(found[1], "inline"), text)
    return _LINK.sub(lambda found: _led(here, *found.groups(default="")), text)


def _mathml(latex: str, display: str) -> str:
    return str(convert(" ".join(latex.split()), display=display))


def _led(here: str, text: str, link: str, anchor: str) -> str:
    """A link from the page ``here``; to what is not on the site, its text alone."""
    source = PLACES.get(here, f"docs/{here}")
    target = posixpath.normpath(posixpath.join(posixpath.dirname(source), link))
    if target in ELSEWHERE:
        page = ELSEWHERE[target]
    elif target.startswith("docs/") and (ROOT / target).is_file():
        page = target.removeprefix("docs/")
    elif (ROOT / "docs" / link).is_file() or link.endswith((".png", ".svg")):
        return f"[{text}]({link}{anchor})"
    else:
        return text
    return f"[{text}]({posixpath.relpath(page, posixpath.dirname(here) or '.')}{anchor})"


def _help_texts() -> str:
    parts = []
    for file in sorted(HELP.glob("*.txt")):
        words = file.stem.replace("_", " ")
        parts.append(f"## {words}\n\n```text\n{file.read_text(encoding='utf-8').rstrip()}\n```\n")
    return "\n".join(parts)
