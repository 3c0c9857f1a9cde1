"""LaTeX formulas to MathML, which browsers draw without scripts, with the font of `fonts/`."""

from __future__ import annotations

import html as entities
import re

from latex2mathml.converter import convert

FORMULA = re.compile(
    r'<(?P<tag>span|div) class="arithmatex">\\(?:\((?P<inline>.*?)\\\)|\[(?P<block>.*?)\\\])</(?P=tag)>', re.DOTALL
)


def with_formulas(html: str) -> str:
    """The page with MathML in place of LaTeX."""
    return FORMULA.sub(_formula, html)


def _formula(found: re.Match[str]) -> str:
    if found["inline"] is not None:
        return convert(entities.unescape(found["inline"]), display="inline")
    return f'<div class="formula">{convert(entities.unescape(found["block"].strip()), display="block")}</div>'
