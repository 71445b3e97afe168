"""Place both spiking networks on cores, check every limit, and write them as integers."""

from __future__ import annotations

from cotrain.hardware.errors import MisfitError
from cotrain.pipeline.evaluation.models import placed_network
from cotrain.pipeline.runs import artifacts
from cotrain.pipeline.tasks import network_for

MODELS = {"converted": "ann", "hybrid": "hybrid"}  # model: its parameters


def run(context) -> None:
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
        _, lowered = placed_network(experiment, spec, context.found.params[kind])
        # on the board spikes go in and out step by step
        report = hardware.check(lowered, board=experiment.quantize.board, precompute=False)
        if report.violations:
            print(report.table())
            raise MisfitError(
                f"{experiment.name}: the {model} network breaks {len(report.violations)} limits of "
                f"{experiment.quantize.board}, listed above; make it smaller, "
                "or choose another board with --set quantize.board=NAME"
            )
        name = artifacts.program_file(model)
        hardware.compile_network(lowered).save(context.out / name)
        context.add(name)
        errors[model] = hardware.quantization_error(lowered)
    print(f"  {report.cores} cores on {report.chips} chips (lower bound {report.lower_bound_cores} cores)")
    context.write_json(artifacts.PLACEMENT, report.to_json())
    context.write_json(artifacts.QUANTIZATION, errors)
