"""The stages, in order. Each is one module here; none imports another.

Its ``run(context)`` returns a sentence: what came out.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Stage:
    """A row of the table of stages.

    `settings` are the sections of the experiment that its result depends on; a change in another one leaves it fresh.
    """

    name: str
    help: str
    needs: tuple[str, ...]
    settings: tuple[str, ...]
    schema: int = 1
    automatic: bool = False  # seconds of work: run for whoever needs it
    pretrained: bool = False  # the package's parameters will do where there is no run
    also: bool = False  # takes in what a board and other seeds gave, where it is there
    titled: bool = False  # shows the experiment's title
    derived: bool = False  # made again without a question when what it is made from has been replaced
    always: bool = False  # depends on more than its key (the source that travels): run when asked for


_MODEL = ("data", "network", "neurons")

STAGES = {
    stage.name: stage
    for stage in (
        Stage("train", "train the ANN", (), (*_MODEL, "train"), schema=2),
        Stage("finetune", "fine-tune it: spikes forward, rate gradients backward", ("train",),
              (*_MODEL, "finetune"), schema=2),
        Stage("quantize", "place it on cores, turn it into integers, check limits", ("train", "finetune"),
              (*_MODEL, "finetune", "quantize"), automatic=True, pretrained=True),
        Stage("deploy", "compare NengoDL and emulated Loihi on the test split",
              ("train", "finetune", "quantize"), (*_MODEL, "finetune", "quantize", "deploy"), pretrained=True),
        Stage("report", "write the HTML, Markdown and JSON report", ("train", "finetune", "quantize", "deploy"),
              (*_MODEL, "train", "finetune", "quantize", "deploy"), pretrained=True,
              also=True, titled=True, derived=True),
        Stage("submission", "write the bundle that a lab runs on the board", ("train", "finetune", "quantize"),
              (*_MODEL, "finetune", "quantize", "deploy", "submission"), pretrained=True, always=True),
    )
}  # fmt: skip
