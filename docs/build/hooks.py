"""What MkDocs calls while it builds the site: pages from elsewhere, tables from the code, formulas as MathML.

A line `<!-- made: NAME WORDS -->` in a page stands for what the function of this name in `tables.MAKERS` makes. A link
that leaves `docs/` is one to a page that lies elsewhere (`ELSEWHERE`), a picture, or a file that the site only names.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from posixpath import dirname, normpath, relpath
from typing import Any

from curves import curves
from formulas import with_formulas
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from tables import MAKERS

REPOSITORY = Path(__file__).resolve().parents[2]
ELSEWHERE = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "cluster/README.md": "clusters.md",
    "cluster/OTHER.md": "other-clusters.md",
    "results/README.md": "results-files.md",
}
"""Pages that lie elsewhere in the repository, and what they are called in the site."""
LINK = re.compile(
    r"```.*?^```$|`[^`\n]*`"  # code, which stays as it is
    r"|(?P<picture>!?)\[(?P<text>[^\]]*)\]\((?P<target>[^)\s]+)\)",
    re.MULTILINE | re.DOTALL,
)
MADE = re.compile(r"^<!-- made: (?P<name>\w+)(?P<words>[^>]*) -->$", re.MULTILINE)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages and pictures that lie elsewhere."""
    for source, page in ELSEWHERE.items():
        if (REPOSITORY / source).is_file():
            files.append(File.generated(config, page, content=(REPOSITORY / source).read_text()))
    for picture in sorted((REPOSITORY / "results").glob("*.png")):
        files.append(File.generated(config, f"images/{picture.name}", abs_src_path=str(picture)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Mend the links, then put in what is made."""
    uri = page.file.src_uri
    source = next((path for path, name in ELSEWHERE.items() if name == uri), f"docs/{uri}")
    markdown = LINK.sub(lambda link: _link(link, source, uri), markdown)
    return MADE.sub(lambda made: _made(made, uri, config, files), markdown)


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Formulas need no script."""
    return with_formulas(html)


def _made(made: re.Match[str], uri: str, config: MkDocsConfig, files: Files) -> str:
    words = made["words"].split()
    if made["name"] != "curves":
        return MAKERS[made["name"]](*words)
    picture = f"images/{'-'.join(words)}.png"
    files.append(File.generated(config, picture, content=curves(*words)))
    return f"![evaluation return against timesteps]({relpath(picture, dirname(uri) or '.')})"


def _link(link: re.Match[str], source: str, uri: str) -> str:
    """A link of the repository's file `source` as the page `uri` has it."""
    if link["target"] is None:
        return link[0]
    target, hash_, anchor = link["target"].partition("#")
    if not target or re.match(r"[a-z]+:", target):
        return link[0]
    path = normpath(os.path.join(dirname(source), target))
    if path.startswith("docs/"):
        place = path.removeprefix("docs/")
    elif path in ELSEWHERE:
        place = ELSEWHERE[path]
    elif not (REPOSITORY / path).exists():
        return link[0]  # MkDocs complains
    elif link["picture"]:
        place = f"images/{Path(path).name}"
    else:
        return f"`{path}`"
    return f"{link['picture']}[{link['text']}]({relpath(place, dirname(uri) or '.')}{hash_}{anchor})"


__all__: list[Any] = ["on_files", "on_page_content", "on_page_markdown"]
