"""The report: one JSON document of a run, and two renderings of it (HTML, Markdown).

`build_document` gathers, `build_page` says it in blocks, `render_html` and `render_markdown` write them; `compare` and
`write_comparison` put several experiments side by side; `answers` is the first screen for a terminal.
"""

from __future__ import annotations

from cotrain.pipeline.report.compare import compare, write_comparison
from cotrain.pipeline.report.document import build as build_document
from cotrain.pipeline.report.html import render as render_html
from cotrain.pipeline.report.load import Inputs, load
from cotrain.pipeline.report.markdown import render as render_markdown
from cotrain.pipeline.report.page import build as build_page
from cotrain.pipeline.report.sections.summary import answers

__all__ = [
    "Inputs", "answers", "build_document", "build_page", "compare", "load", "render_html", "render_markdown",
    "write_comparison",
]  # fmt: skip
