"""Write the bundle that a lab runs on a real Loihi: the hybrid network, samples of the test split, what to expect."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import numpy as np
from cotrain.hardware import terminal
from cotrain.hardware.terminal import plural
from cotrain.pipeline import __version__
from cotrain.pipeline.evaluation.models import placed_network
from cotrain.pipeline.networks import rebuild
from cotrain.pipeline.neurons.phases import lift_of
from cotrain.pipeline.runs import artifacts
from cotrain.pipeline.tasks import network_for

if TYPE_CHECKING:
    from cotrain.pipeline.stages.context import Context


def run(context: Context) -> str:
    """Write ``submission/<experiment>-<digest>.tar.gz`` beside the run folders, and submission.json.

    Raises
    ------
    MisfitError
        The board would refuse the network or lose spikes; the violations are printed.
    InputError
        The bundle is larger than 10 MB.
    """
    from cotrain.hardware.bundle.pack import pack

    experiment = context.experiment.deployed()
    tune = experiment.finetune
    spec = network_for(experiment.network, context.dataset)
    params = context.parameters.params["hybrid"]
    built, _ = placed_network(experiment, spec, params)
    test = context.dataset.subset("test")
    n_samples = min(experiment.submission.n_samples, len(test))
    chosen = np.linspace(0, len(test) - 1, n_samples).round().astype(int)  # spread over the split
    written = pack(
        context.runs.parent / artifacts.BUNDLES,
        built.net,
        experiment=experiment.name,
        builder=rebuild.BUILDER,
        network=rebuild.describe(
            spec,
            experiment.neurons,
            tune.synapse_s,
            experiment.seed,
            lift_of(experiment.neurons, tune, experiment.dt_s),
        ),
        params=params,
        layers=list(built.layers),
        images=test.images[chosen].reshape(n_samples, -1),
        names=test.names[chosen],
        n_steps=tune.n_steps,
        readout_steps=tune.readout_steps,
        board=experiment.quantize.board,
        packages=("cotrain.pipeline.networks", "cotrain.pipeline.neurons"),
        dt_s=experiment.dt_s,
        seed=experiment.seed,
        version=__version__,
    )
    context.write_json(
        artifacts.SUBMISSION,
        {
            "archive": written.path.name,
            "digest": written.digest,
            "sha256": artifacts.sha256(written.path.read_bytes()),
            "bytes": written.n_bytes,
            "n_samples": written.n_samples,
            "precompute": written.precompute,
            "hardware_options": written.report.hardware_options,
            "parameters": context.parameters.source,
        },
    )
    terminal.say(f"  check it: cotrain verify {shlex.quote(str(written.path))}")
    report = written.report
    return (
        f"{written.path}, {written.n_bytes / 1e6:.2f} MB: {plural(written.n_samples, 'sample')}, "
        f"{plural(report.cores, 'core')} on {plural(report.chips, 'chip')}"
    )
