"""A page as one HTML file: nothing is fetched, no script, colours follow the reader's light or dark setting."""

from __future__ import annotations

import re
from html import escape
from pathlib import Path

from cotrain.pipeline.report.blocks import Code, Figure, Heading, Items, Page, Row, Section, Table, Text
from cotrain.pipeline.report.charts import mark

STYLE = Path(__file__).with_name("style.css")


def render(page: Page) -> bytes:
    """The page as UTF-8 HTML."""
    links = "".join(f'<li><a href="#{s.key}">{escape(s.title)}</a></li>' for s in page.sections)
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
<main>
<div id="results" class="lead">
{lead}
</div>
<nav aria-label="Contents"><ul>{links}</ul></nav>
{body}
</main>
</body>
</html>
""".encode()


def inline(text: str) -> str:
    """Escaped text with ``**bold**`` and `` `code` ``."""
    text = re.sub(r"(?<=\d) (?=%|[fpnµmkMGT]?(?:s|J|Hz)\b)", "\u00a0", escape(text, quote=False))
    text = re.sub(r"`([^`]+)`", r"<code>\1</code>", text)
    return re.sub(r"\*\*([^*]+)\*\*", r"<strong>\1</strong>", text)


def _section(section: Section) -> str:
    blocks = "\n".join(map(_block, section.blocks))
    heading = f'<h2 id="{section.key}">{escape(section.title)}</h2>'
    return f'<section aria-labelledby="{section.key}">\n{heading}\n{blocks}\n</section>'


def _block(block) -> str:
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
    if isinstance(block, Figure):
        return _figure(block)
    if isinstance(block, Table):
        return _table(block)
    raise TypeError(f"no HTML for {type(block).__name__}")


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
    def cells(row, index):
        css = [' class="r"' if table.alignment(i) == "r" else "" for i in range(len(row))]
        first = f'<th scope="row"{css[0]}>{inline(row[0])}</th>'
        rest = "".join(f"<td{c}>{inline(cell)}</td>" for c, cell in zip(css[1:], row[1:], strict=True))
        return f"<tr{' class=muted' if index in table.muted else ''}>{first}{rest}</tr>"

    head = "".join(
        f'<th scope="col"{" class=r" if table.alignment(i) == "r" else ""}>{inline(c)}</th>'
        for i, c in enumerate(table.columns)
    )
    body = "\n".join(cells(row, i) for i, row in enumerate(table.rows))
    label = escape(re.sub(r"[*`]", "", table.caption))
    return (
        f'<figure class="tabular">\n<figcaption>{inline(table.caption)}</figcaption>\n'
        f'<div class="table{" tall" if table.tall else ""}" role="region" aria-label="{label}" tabindex="0">\n'
        f'<table aria-label="{label}">\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>\n'
        "</div>\n</figure>"
    )
