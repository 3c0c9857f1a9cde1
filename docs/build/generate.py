"""`make tables`: write the generated parts of the documentation into its pages; with `--check`, name outdated pages.

A page holds each part between `<!-- made: NAME ARGUMENTS -->` and `<!-- end -->`, so that it is read on a code host
too. NAME is one of `generated_tables.MAKERS`, or `curves`: a picture in `docs/images/made/`, drawn anew where the
results that it shows have changed.
"""

from __future__ import annotations

import hashlib
import re
import sys
from pathlib import Path
from posixpath import relpath

from curves import RESULTS, curves
from generated_tables import MAKERS

DOCS = Path(__file__).resolve().parents[1]
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
        if name == "curves":
            data, body = _picture(arguments, page, found["data"], draw)
        else:
            body = MAKERS[name](*arguments)
        words = " ".join([name, *arguments, *([f"data={data}"] if data else [])])
        return f"<!-- made: {words} -->\n\n{body}\n\n<!-- end -->\n"

    return MADE.sub(part, text)


def _picture(names: list[str], page: Path, known: str | None, draw: bool) -> tuple[str, str]:
    """The digest of the results, and the link to their picture."""
    digest = hashlib.sha256(b"".join((RESULTS / f"{name}.json").read_bytes() for name in names)).hexdigest()[:8]
    path = DOCS / "images" / "made" / f"{'-'.join(names)}.png"
    if draw and (digest != known or not path.exists()):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(curves(*names))
    return digest, f"![evaluation return against timesteps]({relpath(path, page.parent)})"


def main() -> int:
    """Write or check all pages; 1 where one is outdated."""
    check, outdated = "--check" in sys.argv[1:], []
    for page in sorted(DOCS.rglob("*.md")):
        text = page.read_text()
        new = generated(text, page, draw=not check)
        if new != text:
            outdated.append(str(page.relative_to(DOCS.parent)))
            if not check:
                page.write_text(new)
    if check and outdated:
        print(f"outdated: {', '.join(outdated)}; run `make tables`", file=sys.stderr)
    return int(check and bool(outdated))


if __name__ == "__main__":
    sys.exit(main())
