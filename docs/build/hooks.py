"""MkDocs hooks of the site: pages from outside docs/, formulas as MathML.

A link that leaves `docs/` points to a page outside it (`ELSEWHERE`), to a picture, or to a
file of the repository, whose path the site shows without a link.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from posixpath import dirname, normpath, relpath
from typing import Any

from formulas import with_formulas
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

REPOSITORY = Path(__file__).resolve().parents[2]
ELSEWHERE = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "cluster/README.md": "clusters.md",
    "cluster/OTHER.md": "other-clusters.md",
    "results/README.md": "results-files.md",
}
"""Pages outside docs/, and their names in the site."""
LINK = re.compile(
    r"```.*?^```$|`[^`\n]*`"  # code, which stays as it is
    r"|(?P<picture>!?)\[(?P<text>[^\]]*)\]\((?P<target>[^)\s]+)\)",
    re.MULTILINE | re.DOTALL,
)
MARK = re.compile(r"^<!-- (made: [^>]*|end) -->\n", re.MULTILINE)
"""Around what `generate.py` has written."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages and pictures from outside docs/."""
    for source, page in ELSEWHERE.items():
        if (REPOSITORY / source).is_file():
            files.append(File.generated(config, page, content=(REPOSITORY / source).read_text()))
    for picture in sorted((REPOSITORY / "results").glob("*.png")):
        files.append(File.generated(config, f"images/{picture.name}", abs_src_path=str(picture)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Adapt the links to the site, and remove the marks around generated parts; the search prefers the keys."""
    uri = page.file.src_uri
    if uri == "reference/keys.md":
        page.meta["search"] = {"boost": 10}
    source = next((path for path, name in ELSEWHERE.items() if name == uri), f"docs/{uri}")
    return MARK.sub("", LINK.sub(lambda link: _link(link, source, uri), markdown))


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Replace formulas with MathML, which needs no script."""
    return with_formulas(html)


def _link(link: re.Match[str], source: str, uri: str) -> str:
    """A link in the repository's file `source`, adapted to the page `uri` of the site."""
    if link["target"] is None:
        return link[0]
    target, hash_, anchor = link["target"].partition("#")
    if not target or re.match(r"[a-z]+:", target):
        return link[0]
    path = normpath(os.path.join(dirname(source), target))
    if path.startswith("docs/"):
        page = path.removeprefix("docs/")
    elif path in ELSEWHERE:
        page = ELSEWHERE[path]
    elif not (REPOSITORY / path).exists():
        return link[0]  # MkDocs reports it
    elif link["picture"]:
        page = f"images/{Path(path).name}"
    else:
        return f"`{path}`"
    return f"{link['picture']}[{link['text']}]({relpath(page, dirname(uri) or '.')}{hash_}{anchor})"


__all__: list[Any] = ["on_files", "on_page_content", "on_page_markdown"]
