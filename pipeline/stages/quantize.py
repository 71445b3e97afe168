"""Place both spiking networks on cores, check every limit, and write them as integers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from cotrain.hardware import terminal
from cotrain.hardware.errors import MisfitError
from cotrain.pipeline.evaluation.models import flat, placed_network
from cotrain.pipeline.runs import artifacts
from cotrain.pipeline.tasks import network_for

if TYPE_CHECKING:
    from cotrain.pipeline.stages.context import Context

MODELS = {"converted": "ann", "hybrid": "hybrid"}  # model: its parameters


SAMPLES = 8  # training images that are emulated for the spikes that have to enter the chip


def run(context: Context) -> str:
    """Write program-<model>.npz, placement.json (of the hybrid) and quantization.json.

    Raises
    ------
    MisfitError
        A limit of the chip or board is broken; the table of violations is printed.
    """
    from cotrain import hardware

    experiment = context.experiment
    spec = network_for(experiment.network, context.dataset)
    errors = {}
    for model, kind in MODELS.items():
        built, lowered = placed_network(experiment, spec, context.parameters.params[kind])
        report = _checked(experiment, built, lowered, context.dataset.subset("train").images)
        if report.violations:
            terminal.say(report.table())
            raise MisfitError(
                f"{experiment.name}: the {model} network breaks {terminal.plural(len(report.violations), 'limit')} of "
                f"{experiment.quantize.board}, listed above; make it smaller, "
                "or choose another board with --set quantize.board=NAME"
            )
        name = artifacts.program_file(model)
        hardware.compile_network(lowered).save(context.out / name)
        context.add(name)
        errors[model] = hardware.quantization_error(lowered)
    entering = report.hardware_options.get("snip_max_spikes_per_step")
    if entering:
        terminal.say(f"  up to {terminal.plural(entering, 'spike')} into a chip in a step (snip_max_spikes_per_step)")
    context.write_json(artifacts.PLACEMENT, report.to_json())
    context.write_json(artifacts.QUANTIZATION, errors)
    return (
        f"fits {experiment.quantize.board} with {terminal.plural(report.cores, 'core')} on "
        f"{terminal.plural(report.chips, 'chip')} (lower bound {report.lower_bound_cores:,})"
    )


def _checked(experiment, built, lowered, images):
    """The report of a network, with the spikes that enter the chip when it sees some of the images."""
    from cotrain import hardware

    chosen = images[np.linspace(0, len(images) - 1, min(len(images), SAMPLES)).astype(int)]
    with hardware.Simulator(lowered, target="emulator", seed=experiment.seed) as sim:
        sim.predict({built.image: flat(chosen)}, n_steps=experiment.finetune.n_steps)
        stats = sim.stats
    board = experiment.quantize.board
    # on the board spikes go in and out step by step, and as many may enter as have to
    first = hardware.check(lowered, board=board, stats=stats, precompute=False)
    most = first.hardware_options.get("snip_max_spikes_per_step")
    return hardware.check(lowered, board=board, stats=stats, precompute=False, snip_max_spikes_per_step=most)
