"""`make tables`: write the generated parts of the documentation into its pages; with `--check`, name outdated pages.

A page holds each part between `<!-- made: NAME ARGUMENTS -->` and `<!-- end -->`, so that it is read on a code host
too. NAME is one of `generated_tables.MAKERS`, or `curves` or `trials`: a picture in `docs/images/made/`, drawn anew
where the results that it shows have changed.
"""

from __future__ import annotations

import hashlib
import re
import sys
import tomllib
from html import escape
from pathlib import Path
from posixpath import relpath

from curves import curves, files, trials
from generated_tables import MAKERS

DOCS = Path(__file__).resolve().parents[1]
BADGE = """<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="20" role="img">
<title>{name}: {value}</title>
<rect width="{width}" height="20" rx="3" fill="#3f6fb5"/>
<path d="M3 0h{left}v20H3a3 3 0 0 1-3-3V3a3 3 0 0 1 3-3" fill="#555"/>
<g fill="#fff" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11" text-anchor="middle">
<text x="{first}" y="14">{name}</text><text x="{second}" y="14">{value}</text></g></svg>
"""
MADE = re.compile(
    r"^<!-- made: (?P<name>\w+)(?P<arguments>[^>]*?)(?: data=(?P<data>\w+))? -->\n(?:.*?^<!-- end -->\n)?",
    re.MULTILINE | re.DOTALL,
)


def generated(text: str, page: Path, draw: bool) -> str:
    """The page with its parts made anew.

    Args:
        text: of the page.
        page: where it lies.
        draw: whether pictures whose data have changed are written.
    """

    def part(found: re.Match[str]) -> str:
        name, arguments, data = found["name"], found["arguments"].split(), ""
        if name in ("curves", "trials"):
            data, body = _picture(name, arguments, page, found["data"], draw)
        else:
            body = MAKERS[name](*arguments)
        words = " ".join([name, *arguments, *([f"data={data}"] if data else [])])
        return f"<!-- made: {words} -->\n\n{body}\n\n<!-- end -->\n"

    return MADE.sub(part, text)


def _picture(kind: str, names: list[str], page: Path, known: str | None, draw: bool) -> tuple[str, str]:
    """The digest of the results, and the link to their picture."""
    shown = names[:1] if kind == "trials" else names
    digest = hashlib.sha256(b"".join(file.read_bytes() for name in shown for file in files(name))).hexdigest()[:8]
    path = DOCS / "images" / "made" / f"{'-'.join(shown).replace('/', '_')}.png"
    if draw and (digest != known or not path.exists()):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(trials(*names) if kind == "trials" else curves(*names))
    return digest, f"![evaluation return against timesteps]({relpath(path, page.parent)})"


def badges() -> dict[Path, str]:
    """The README's badges: what pyproject.toml declares."""
    project = tomllib.loads((DOCS.parent / "pyproject.toml").read_text())["project"]
    facts = {"licence": ("licence", project["license"]), "python": ("Python", project["requires-python"])}
    return {DOCS / "images" / f"badge_{name}.svg": _badge(*fact) for name, fact in facts.items()}


def _badge(left: str, right: str) -> str:
    widths = [7 * len(text) + 12 for text in (left, right)]
    return BADGE.format(
        width=sum(widths), left=widths[0], first=widths[0] / 2, second=widths[0] + widths[1] / 2,
        name=escape(left), value=escape(right),
    )  # fmt: skip


def main() -> int:
    """Write or check all pages and badges; 1 where one is outdated."""
    check, outdated = "--check" in sys.argv[1:], []
    pages = {page: page.read_text() for page in sorted(DOCS.rglob("*.md"))}
    wanted = {page: generated(text, page, draw=not check) for page, text in pages.items()} | badges()
    for path, new in wanted.items():
        if not path.exists() or path.read_text() != new:
            outdated.append(str(path.relative_to(DOCS.parent)))
            if not check:
                path.write_text(new)
    if check and outdated:
        print(f"outdated: {', '.join(outdated)}; run `make tables`", file=sys.stderr)
    return int(check and bool(outdated))


if __name__ == "__main__":
    sys.exit(main())
