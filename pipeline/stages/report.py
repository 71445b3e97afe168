"""Write report.html, report.md and report.json from what the stages before left."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cotrain.hardware import terminal
from cotrain.pipeline import report
from cotrain.pipeline.runs import artifacts

if TYPE_CHECKING:
    from cotrain.pipeline.stages.context import Context


def run(context: Context) -> str:
    """Write the report of one experiment.

    Raises
    ------
    MissingError, CorruptError
        A file of an earlier stage is not there or cannot be read.
    """
    inputs = report.load(context)
    document = report.build_document(inputs)
    page = report.build_page(document, inputs)
    context.write_bytes(artifacts.REPORT["html"], report.render_html(page))
    context.write_bytes(artifacts.REPORT["md"], report.render_markdown(page))
    context.write_json(artifacts.REPORT["json"], document)
    for question, answer in report.answers(document):
        terminal.say(f"  {question:<33} {answer}")
    for one in document["decision"]["next"][:1]:
        for line in terminal.fitted(f"  {one['what']}" + (f" {one['command']}" if one["command"] else "")):
            terminal.say(line)
    return document["verdict"][0].replace("**", "")
