"""Write pipeline/pretrained/<experiment>.npz from the experiment's finished train and finetune stages.

    python tools/pack_pretrained.py EXPERIMENT [--data DIR] [--runs DIR]

Where the file would be large, kernels are kept in half precision (`pipeline.runs.parameters.pack`).
"""

from __future__ import annotations

import argparse
from pathlib import Path

from cotrain.pipeline import datasets, experiment
from cotrain.pipeline.runs import artifacts, parameters
from cotrain.pipeline.tasks import task_of

WHOLE_BYTES = 2_000_000  # larger parameters travel with kernels in half precision, which costs up to 0.003 of a score


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("experiment")
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    arguments = parser.parse_args()
    settings = experiment.load(arguments.experiment)
    found = parameters.from_runs(settings, arguments.runs)
    dataset = datasets.load_for(settings.data, arguments.data, arguments.runs / "data")
    constant = task_of(dataset.task).constant(dataset.subset("train"))
    arrays = parameters.pack(found.params, constant)
    if len(artifacts.npz_bytes(arrays)) > WHOLE_BYTES:
        arrays = parameters.pack(found.params, constant, small=True)
    path = parameters.package_file(settings)
    artifacts.write_npz(path, arrays)
    print(f"{path}: {', '.join(found.params)}, {path.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
