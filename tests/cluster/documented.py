"""The commands of cluster/README.md that these tests run: blocks that a comment `<!-- lab: NAME -->` names."""

from __future__ import annotations

import re

from .lab import REPOSITORY


def documented(name: str) -> list[str]:
    """The commands of a block, one a line, without their comments.

    Raises:
        KeyError: no block has the name.
    """
    text = (REPOSITORY / "cluster" / "README.md").read_text()
    match = re.search(rf"<!-- lab: {name} -->\n```bash\n(.*?)```", text, re.DOTALL)
    if match is None:
        raise KeyError(f"cluster/README.md has no block <!-- lab: {name} -->")
    return [re.sub(r"\s+#.*", "", line) for line in match[1].splitlines()]
