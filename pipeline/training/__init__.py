"""Training of the ANN and hybrid fine-tuning, with any backend.

`train` and `finetune` take an experiment and its data and return parameters; nothing else here knows experiments.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from cotrain.hardware import terminal
from cotrain.pipeline.compat import make_deterministic
from cotrain.pipeline.datasets.base import Dataset
from cotrain.pipeline.experiment import MODEL_RATE_HZ, MODEL_SYNAPSE_S, Experiment, PhaseSettings
from cotrain.pipeline.networks import Params, activity
from cotrain.pipeline.networks.foreign import OWN_MODEL, model_for
from cotrain.pipeline.runs import parameters
from cotrain.pipeline.tasks import network_for, task_of
from cotrain.pipeline.training.backend import Job, make_backend
from cotrain.pipeline.training.loop import Schedule, TrainingResult, fit, summary

STATISTICS_SAMPLES = 4096  # by whose means and variances batch normalisation starts, where parameters are known
FAITHFUL = 0.97  # correlation of outputs with the model's from which on its decisions are mostly kept (measured, MNIST)

__all__ = ["TrainingResult", "finetune", "job_for", "summary", "train"]


def train(
    experiment: Experiment, dataset: Dataset, folder: Path, key: str, say: Callable[[str], None] = terminal.say
) -> TrainingResult:
    """Train the ANN from initial parameters, from those of ``train.start``, or of a model that was made elsewhere.

    Parameters
    ----------
    folder : Path
        For checkpoints and logs.
    key : str
        Stands for settings and data: a checkpoint of another key is not used.

    Returns
    -------
    TrainingResult
        Parameters for `pipeline.networks.build`. Of a model that was made elsewhere the history says, too, how its
        layers were scaled (`pipeline.networks.activity`) and what reading it cost.
    """
    job = job_for(experiment, dataset, "ann")
    if experiment.network.name != OWN_MODEL:
        params = job.spec.init_params(experiment.seed)
        params["readout.bias"] = params["readout.bias"] + job.task.first_bias(dataset.subset("train"))
        start = parameters.start_file(experiment)
        if start is None:
            return _run(experiment, job, params, dataset, folder, key, say)
        params, anew = parameters.started(start, job.spec, job.scaler.fold(params))
        but = ", but for the readout, which has other outputs there" if anew else ""
        say(f"  starting from {experiment.train.start}{but}")
        return _run(experiment, job, job.scaler.unfold(params), dataset, folder, key, say, known=True)
    model = model_for(experiment.network, dataset.input_shape)
    for note in model.notes:
        say(f"  {note}")
    images = dataset.subset("train").images
    params, scales = activity.scaled(model.spec, model.params, images)
    trained = _run(experiment, job, job.scaler.unfold(params), dataset, folder, key, say, known=True)
    history = {**trained.history, "scales": scales, "notes": list(model.notes)}
    if experiment.network.calibrate and not experiment.train.epochs:
        from cotrain.pipeline.training.unrolled.calibrate import calibrated

        say("  fitting kernels and biases to spikes, on training images and without labels (network.calibrate)")
        hybrid = job_for(experiment.deployed(), dataset, "hybrid")
        found, layers = calibrated(hybrid, trained.params, images)
        for line in _heard(layers, experiment.deployed()):
            say(f"  {line}")
        return TrainingResult(found, {**history, "calibrated": True, "agreement": layers})
    return TrainingResult(trained.params, history)


def _heard(layers: list[dict], experiment: Experiment) -> list[str]:
    """What is told of a model's spikes (`unrolled.calibrate`): how well they tell its activations, and what helps."""
    told = ", ".join(f"{layer['name']} {layer['correlation']:.3f}" for layer in layers)
    lines = [f"correlation of spikes with the model's activations on training images: {told}"]
    tune, rate_hz = experiment.finetune, experiment.neurons.rate_scale_hz
    if layers[-1]["correlation"] < FAITHFUL:
        lines.append(
            f"little is left of the model's outputs after {tune.n_steps} steps at {rate_hz:g} Hz with synapses of "
            f"{1000 * tune.synapse_s:g} ms; set finetune.synapse_s to {MODEL_SYNAPSE_S:g}, neurons.rate_scale_hz to "
            f"{MODEL_RATE_HZ:g}, more steps, or fine-tune"
        )
    return lines


def finetune(
    experiment: Experiment,
    dataset: Dataset,
    params: Params,
    folder: Path,
    key: str,
    say: Callable[[str], None] = terminal.say,
) -> TrainingResult:
    """Go on from the ANN's parameters as a hybrid: spikes forward, rate gradients backward.

    Parameters
    ----------
    params : dict of ndarray
        What `train` returned.
    folder, key
        As for `train`.
    """
    job = job_for(experiment, dataset, "hybrid")
    gains = experiment.finetune.rate_gain, experiment.finetune.readout_gain
    if gains != (1, 1):
        params = activity.raised(job.spec, params, *gains)
    return _run(experiment, job, job.scaler.unfold(params), dataset, folder, key, say)


def job_for(experiment: Experiment, dataset: Dataset, phase: str) -> Job:
    """What a backend is to train in a phase, "ann" or "hybrid".

    Raises
    ------
    InputError
        The network, the loss and the data set are of different tasks.
    """
    task = task_of(dataset.task)
    spec = network_for(experiment.network, dataset)
    task.check_loss(experiment.train.loss, dataset)
    settings: PhaseSettings = experiment.finetune if phase == "hybrid" else experiment.train
    views = settings.view_shift if settings.augment else 0.0
    return Job(
        spec=spec,
        neurons=experiment.neurons,
        task=task,
        scaler=task.scaler(dataset.subset("train").targets, views, spec.final),
        loss=experiment.train.loss,
        settings=settings,
        dt_s=experiment.dt_s,
        seed=experiment.seed,
    )


def _run(experiment, job, params, dataset, folder, key, say, known: bool = False) -> TrainingResult:
    """Train a job; `known` says that its parameters mean something, which batch normalisation has to keep."""
    make_deterministic(experiment.seed)
    schedule = Schedule(job.settings, experiment.data, experiment.seed)
    say(f"  {_plan(schedule, dataset)}")
    images = None
    if known and job.batch_norm:
        images = dataset.subset("train").whole_groups(STATISTICS_SAMPLES).images
    backend = make_backend(job.settings.backend, job, params, images)
    try:
        return fit(backend, job, schedule, dataset, folder, key, say)
    finally:
        backend.close()


def _plan(schedule: Schedule, dataset: Dataset) -> str:
    """What is going to train, and how long, in a line."""
    settings = schedule.settings
    if not settings.epochs:
        return "no epochs: the weights stay as they are"
    by = {"nengo-dl": "NengoDL", "tensorflow": "TensorFlow"}[settings.backend]
    batches = schedule.n_batches(int((dataset.split == "train").sum()))
    most = "at most " if settings.patience else ""
    return (
        f"{by} (backend {settings.backend}): {most}{terminal.plural(settings.epochs, 'epoch')} of "
        f"{terminal.plural(batches, 'batch', 'batches')} of {settings.batch_size}"
    )
