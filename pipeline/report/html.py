"""A page as one HTML file: nothing is fetched, colours follow the reader's light or dark setting.

Sections fold without a script. The script of `page.js` adds sorting, hints where a table is wider than the window, and
opens a section that a link leads to.
"""

from __future__ import annotations

import re
from html import escape
from pathlib import Path

from cotrain.pipeline.report.blocks import (
    Block,
    Code,
    Facts,
    Figure,
    Fold,
    Heading,
    Items,
    Page,
    Row,
    Section,
    Strip,
    Table,
    Text,
)  # fmt: skip
from cotrain.pipeline.report.charts import mark

STYLE, SCRIPT = (Path(__file__).with_name(name) for name in ("style.css", "page.js"))
WIDE = 4  # columns from which on a table may be wider than a telephone


def render(page: Page) -> bytes:
    """The page as UTF-8 HTML."""
    links = "".join(f'<li><a href="#{s.key}">{escape(s.name or s.title)}</a></li>' for s in page.sections)
    body = "\n".join(map(_section, page.sections))
    lead = "\n".join(map(_block, page.lead))
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escape(page.title)}</title>
<style>
{STYLE.read_text(encoding="utf-8")}</style>
</head>
<body>
<a class="skip" href="#results">Skip to the results</a>
<header>
<h1>{escape(page.title)}</h1>
<p class="subtitle">{inline(page.subtitle)}</p>
</header>
<nav aria-label="Contents"><details><summary>Contents</summary><ul>{links}</ul></details></nav>
<main>
<div id="results" class="lead">
{lead}
</div>
{body}
</main>
<script>
{SCRIPT.read_text(encoding="utf-8")}</script>
</body>
</html>
""".encode()


def inline(text: str) -> str:
    """Escaped text with ``**bold**`` and `` `code` ``."""
    text = re.sub(r"(?<=\d) (?=%|[fpnµmkMGT]?(?:s|J|Hz)\b)", "\u00a0", escape(text, quote=False))
    text = re.sub(r"`([^`]+)`", lambda found: f"<code>{_options(found[1])}</code>", text)
    return re.sub(r"\*\*([^*]+)\*\*", r"<strong>\1</strong>", text)


def _options(code: str) -> str:
    """Options of a command are not broken at their hyphens."""
    return re.sub(r"(?<= )(--\S+)", r"<span>\1</span>", code)


def _section(section: Section) -> str:
    blocks = "\n".join(map(_block, section.blocks))
    return (
        f'<section aria-labelledby="{section.key}">\n<details class="section"{" open" if section.open else ""}>\n'
        f'<summary><h2 id="{section.key}">{escape(section.title)}</h2></summary>\n'
        f'<div class="body">\n{blocks}\n</div>\n</details>\n</section>'
    )


def _block(block: Block) -> str:
    if isinstance(block, Text):
        return f'<p class="{block.kind}">{inline(block.text)}</p>'
    if isinstance(block, Items):
        return "<ul>" + "".join(f"<li>{inline(item)}</li>" for item in block.items) + "</ul>"
    if isinstance(block, Row):
        return '<div class="row">' + "\n".join(map(_block, block.blocks)) + "</div>"
    if isinstance(block, Heading):
        return f"<h3>{escape(block.text)}</h3>"
    if isinstance(block, Code):
        return f'<pre tabindex="0"><code>{escape(block.text, quote=False)}</code></pre>'
    if isinstance(block, Fold):
        inner = "\n".join(map(_block, block.blocks))
        return f'<details class="fold">\n<summary>{inline(block.summary)}</summary>\n{inner}\n</details>'
    if isinstance(block, Facts):
        return _facts(block)
    if isinstance(block, Strip):
        return _strip(block)
    if isinstance(block, Figure):
        return _figure(block)
    if isinstance(block, Table):
        return _table(block)
    raise TypeError(f"no HTML for {type(block).__name__}")


def _facts(facts: Facts) -> str:
    cards = []
    for fact in facts.facts:
        details = "".join(f"<p>{inline(detail)}</p>" for detail in fact.details)
        css = f' class="{fact.state}"' if fact.state else ""
        cards.append(
            f"<div{css}><dt>{escape(fact.question)}</dt>\n"
            f"<dd><strong>{inline(fact.answer)}</strong>{details}</dd></div>"
        )
    return '<dl class="facts">\n' + "\n".join(cards) + "\n</dl>"


def _strip(strip: Strip) -> str:
    thumbnails, cards = [], []
    for i, case in enumerate(strip.cases):
        chosen = " checked" if i == 0 else ""
        thumbnails.append(
            f'<label><input type="radio" name="{strip.key}"{chosen}>{case.thumbnail}'
            f"<span>{inline(case.label)}</span></label>"
        )
        cards.append(f'<div class="card">{_figure(case.detail)}</div>')
    return (
        f'<fieldset class="strip">\n<legend>{inline(strip.caption)}</legend>\n'
        f'<div class="thumbnails">\n{"".join(thumbnails)}\n</div>\n{"".join(cards)}\n</fieldset>'
    )


def _figure(figure: Figure) -> str:
    legend = "".join(f"<li>{_swatch(css, *shape)}{escape(label)}</li>" for css, label, *shape in figure.legend)
    legend = f'<ul class="legend">{legend}</ul>' if legend else ""
    drawings = "\n".join(f'<div class="drawing">{d}</div>' for d in figure.drawings)
    return (
        f'<figure role="group" aria-label="{escape(figure.alt)}">\n{legend}'
        f'<div class="drawings {figure.size}">\n{drawings}\n'
        f"</div>\n<figcaption>{inline(figure.caption)}</figcaption>\n</figure>"
    )


def _swatch(css: str, shape: str = "") -> str:
    drawn = mark(6, 6, css, shape) if shape else f'<rect class="fill {css}" width="12" height="12"/>'
    return f'<svg class="swatch" viewBox="0 0 12 12" aria-hidden="true">{drawn}</svg>'


def _table(table: Table) -> str:
    def cells(row: tuple[str, ...], index: int) -> str:
        css = [' class="r"' if table.alignment(i) == "r" else "" for i in range(len(row))]
        first = f'<th scope="row"{css[0]}>{inline(row[0])}</th>'
        rest = "".join(f"<td{c}>{inline(cell)}</td>" for c, cell in zip(css[1:], row[1:], strict=True))
        return f"<tr{' class=muted' if index in table.muted else ''}>{first}{rest}</tr>"

    head = "".join(
        f'<th scope="col"{" class=r" if table.alignment(i) == "r" else ""}>{inline(c)}</th>'
        for i, c in enumerate(table.columns)
    )
    lines = [cells(row, i) for i, row in enumerate(table.rows)]
    last = len(lines) - table.n_totals
    body, totals = "\n".join(lines[:last]), "\n".join(lines[last:])
    foot = f"<tfoot>\n{totals}\n</tfoot>\n" if totals else ""
    label = escape(re.sub(r"[*`]", "", table.caption))
    wide = " wide" if len(table.columns) > WIDE else ""
    sortable = ' class="sortable"' if table.sortable else ""
    return (
        f'<figure class="tabular">\n<figcaption>{inline(table.caption)}</figcaption>\n'
        f'<div class="table{wide}{" tall" if table.tall else ""}" role="region" aria-label="{label}" tabindex="0">\n'
        f'<table aria-label="{label}"{sortable}>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n{foot}'
        "</table>\n</div>\n</figure>"
    )
