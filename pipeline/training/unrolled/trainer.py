"""Training in plain TensorFlow, layer by layer: the mathematics of `nengo_dl_backend`, several times faster.

Same networks, same neurons, same parameters; tests hold outputs and gradients to NengoDL's. What makes it fast: no loop
over time around the network (`layerwise`), one convolution for all steps, the first layer's input current computed
once, and, where `precision` says so, bfloat16 for images, spikes and kernels. A spike is exact in bfloat16 wherever
1 / (rate_scale_hz dt_s) is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from cotrain.hardware.chip.limits import LOIHI1
from cotrain.hardware.errors import InputError
from cotrain.pipeline.networks import IMAGE, Params, neurons_for
from cotrain.pipeline.neurons.nengo_types import NeuronModel, tf
from cotrain.pipeline.neurons.phases import spread
from cotrain.pipeline.training.backend import Job, StepResult, in_full_batches
from cotrain.pipeline.training.losses import activity_penalty, penalty_of_sums
from cotrain.pipeline.training.unrolled import layerwise, normalise
from cotrain.pipeline.training.unrolled.device import DEVICES, device_for, layers_for, precision_for

if TYPE_CHECKING:
    from cotrain.pipeline.compat import Tensor
    from cotrain.pipeline.networks.spec import Layer

DTYPES = {"float32": tf.float32, "bfloat16": tf.bfloat16}
WEIGHT_MAX = LOIHI1.weight_max  # with both signs its lowest bit is lost, so that weights are even


class TensorFlowBackend:
    """See `pipeline.training.backend.Backend`."""

    def __init__(self, job: Job, params: Params, images: np.ndarray | None = None):
        self.job, self.device = job, DEVICES[device_for(job)]
        job.spec.check_params(params)
        self.bounded = [e.param for e in job.spec.readout.edges()] if job.settings.readout_positive else []
        if self.bounded and job.phase == "ann":
            params = {**params, **{name: np.abs(params[name]) for name in self.bounded}}
        elif any(params[name].min() < 0 for name in self.bounded):
            raise InputError(
                "finetune.readout_positive is true, and the readout of the ANN has weights below 0; set "
                "train.readout_positive to true, too, or finetune.readout_positive to false"
            )
        self.teacher = {}  # the ANN that a hybrid starts from
        if job.distill_weight:
            self.teacher = {name: tf.constant(value, tf.float32) for name, value in params.items()}
        self.statistics = {}  # of batch normalisation
        if job.batch_norm:
            if images is None:
                gammas, statistics = normalise.initial(job.spec)
                params = {**params, **gammas}
            else:
                params, statistics = normalise.unfold(job.spec, params, *_moments(job, params, images))
            self.statistics = {name: tf.Variable(value, trainable=False) for name, value in statistics.items()}
        self.variables = {name: tf.Variable(params[name], name=name, dtype=tf.float32) for name in params}
        self.averages = {}  # of the variables, over the steps
        if job.settings.average:
            self.averages = {name: tf.Variable(params[name], dtype=tf.float32) for name in params}
        self.optimizer = tf.keras.optimizers.legacy.Adam()
        self.optimizer._create_all_weights(list(self.variables.values()))
        self._train = tf.function(self._train_step, autograph=False)
        self._predict = tf.function(self._predict_step, autograph=False)

    @property
    def kept(self) -> dict:
        """What validation and `params` see: parameters of the network without normalisation."""
        trained = self.averages or self.variables
        return normalise.fold(self.job.spec, trained, self.statistics) if self.statistics else trained

    def train_step(self, images: np.ndarray, targets: np.ndarray, learning_rate: float) -> StepResult:
        self.optimizer.learning_rate = learning_rate
        loss, rates_hz = self._train(
            tf.constant(images, tf.float32), tf.constant(targets, tf.float32), tf.constant(learning_rate, tf.float32)
        )
        return StepResult(float(loss), rates_hz.numpy())

    def predict(self, images: np.ndarray) -> np.ndarray:
        return in_full_batches(
            lambda batch: self._predict(tf.constant(batch, tf.float32)).numpy(), images, self.job.settings.batch_size
        )

    def params(self) -> Params:
        return {name: variable.numpy() for name, variable in self.kept.items()}

    def state(self) -> dict[str, np.ndarray]:
        state = {f"optimizer/{i:03d}": np.asarray(w) for i, w in enumerate(self.optimizer.get_weights())}
        for group, variables in self._groups():
            state.update({f"{group}/{name}": variable.numpy() for name, variable in variables.items()})
        return state

    def restore(self, state: dict[str, np.ndarray]) -> None:
        for group, variables in self._groups():
            for name, variable in variables.items():
                variable.assign(state[f"{group}/{name}"])
        self.optimizer.set_weights([state[key] for key in sorted(state) if key.startswith("optimizer/")])

    def close(self) -> None:
        """Nothing is held."""

    def _groups(self):
        return (("now", self.variables), ("average", self.averages), ("statistics", self.statistics))

    def _predict_step(self, images):
        with tf.device(self.device):
            return forward(self.job, self.kept, images)[0]

    def _train_step(self, images, targets, learning_rate):
        with tf.device(self.device):
            return self._step(images, targets, learning_rate)

    def _step(self, images, targets, learning_rate):
        job, variables = self.job, list(self.variables.values())
        norm = normalise.BatchNorm(self.variables) if self.statistics else None
        with tf.GradientTape() as tape:
            prediction, penalty, means = _outcome(job, self.variables, images, norm)
            loss = job.task.loss(job, prediction, targets)
            if job.distill_weight:
                wanted = tf.stop_gradient(forward(job.as_ann(), self.teacher, images)[0])
                distance = job.task.distance(job, prediction, wanted)
                loss = (1 - job.distill_weight) * loss + job.distill_weight * distance
            loss += penalty
        gradients = tape.gradient(loss, variables)
        if job.settings.clip_norm:
            gradients, _ = tf.clip_by_global_norm(gradients, job.settings.clip_norm)
        self.optimizer.apply_gradients(zip(gradients, variables, strict=True))
        if job.settings.weight_decay:  # apart from the gradient (AdamW: Loshchilov and Hutter 2019, algorithm 2)
            for name, variable in self.variables.items():
                if ".kernel" in name:
                    variable.assign_sub(learning_rate * job.settings.weight_decay * variable)
        for name in self.bounded:
            self.variables[name].assign(tf.nn.relu(self.variables[name]))
        for name, statistic in self.statistics.items():
            statistic.assign_add((1 - normalise.MOMENTUM) * (norm.seen[name] - statistic))
        if self.averages:  # the first steps count more, so that the initial parameters are soon forgotten
            n = tf.cast(self.optimizer.iterations, tf.float32)
            decay = tf.minimum(job.settings.average, n / (n + 9))
            for name, average in self.averages.items():
                average.assign_add((1 - decay) * (self.variables[name] - average))
        return loss, job.neurons.rate_scale_hz * means


def forward(job: Job, params: dict, images: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Run a batch.

    Parameters
    ----------
    job : Job
    params : dict of tf.Tensor
        By name, float32.
    images : tf.Tensor
        (n_samples, height, width, channels) float32; the number of samples is known.

    Returns
    -------
    prediction : tf.Tensor
        (n_samples, size) float32: the readout, of a hybrid its mean over the last `readout_steps`.
    activity : list of tf.Tensor
        (n_samples, n_neurons) float32 of each layer: activations, of a hybrid as the mean over the presentation.
    """
    if job.phase == "hybrid":
        last, activity = _spikes(job, params, images)
    else:
        last = {name: tf.cast(outputs, tf.float32) for name, outputs in _rates(job, params, images)[0].items()}
        activity = list(last.values())
    return _readout(job, params, last), [tf.reshape(a, (images.shape[0], -1)) for a in activity]


def _outcome(job: Job, params: dict, images, norm: normalise.BatchNorm | normalise.Moments | None = None):
    """(prediction as `forward` has it, penalty on the rates, mean activation of each layer)."""
    if job.phase == "hybrid":
        prediction, activity = forward(job, params, images)
        return prediction, activity_penalty(activity, job), tf.stack([tf.reduce_mean(a) for a in activity])
    outputs, sums = _rates(job, params, images, norm)
    sizes = [a.shape.num_elements() for a in outputs.values()]
    last = {name: tf.cast(outputs[name], tf.float32) for name in job.spec.readout.sources}
    prediction = _readout(job, params, last)
    return prediction, penalty_of_sums(sums, sizes, job), sums[:, 0] / tf.constant(sizes, tf.float32)


def _readout(job: Job, params: dict, outputs: dict):
    """(n_samples, size), of the outputs of the layers that the readout listens to."""
    layer = job.spec.readout
    prediction = incoming(layer, outputs, params, tf.float32) + params[f"{layer.name}.bias"]
    return tf.reshape(prediction, (prediction.shape[0], -1))


def _rates(job: Job, params: dict, images, norm: normalise.BatchNorm | normalise.Moments | None = None):
    """Activations {layer: (n_samples, ...)}, and for all layers (n_layers, 2) the sums of `layerwise.rates`.

    `norm` is the batch normalisation of a training step.
    """
    model, c, dtype = neurons_of(job)
    low, high = (
        rate_hz / job.neurons.rate_scale_hz for rate_hz in (job.settings.rate_min_hz, job.settings.rate_max_hz)
    )
    outputs, sums, on = {IMAGE: images}, [], layers_for(job)
    for layer in job.spec.layers:
        x, bias = incoming(layer, outputs, params, dtype, _rounds(job, layer)), params[f"{layer.name}.bias"]
        if norm and not layer.bias_per_neuron:
            x = norm(layer, x, bias)  # in one pass over the layer
        else:
            x = norm(layer, x) if norm else x
            x = x + tf.cast(bias, dtype) if layer.bias_per_neuron else tf.nn.bias_add(x, tf.cast(bias, dtype))
        outputs[layer.name], of_layer = on.rates(model, c, x, low, high)
        sums.append(of_layer)
    del outputs[IMAGE]
    return outputs, tf.stack(sums)


def _spikes(job: Job, params: dict, images):
    """{layer: mean outputs over the readout's steps}, and of all layers in a list over the presentation."""
    model, c, dtype = neurons_of(job)
    on = layers_for(job)
    weights = np.zeros((2, job.n_steps), np.float32)
    weights[0] = 1 / job.n_steps
    weights[1, -job.readout_steps :] = 1 / job.readout_steps
    steps, last, activity = {IMAGE: images[tf.newaxis]}, {}, []  # (n_steps, n_samples, ...); the image is constant
    users = [edge.source for edge in job.spec.edges() if edge.target is not job.spec.readout]
    for layer in job.spec.layers:
        n_steps = steps[layer.sources[0]].shape[0]
        flat = {name: tf.reshape(steps[name], (-1, *steps[name].shape[2:])) for name in layer.sources}
        currents = incoming(layer, flat, params, dtype, _rounds(job, layer))
        currents = tf.reshape(currents, (n_steps, -1, *layer.output_shape))
        bias = params[f"{layer.name}.bias"]
        lift = lift_into(job, layer, c)
        outputs, means = on.spikes(model, c, currents, bias, job.n_steps, weights, job.slope, lift)
        activity.append(means[0])
        last[layer.name] = means[1]
        for edge in layer.edges():  # what nobody needs any more takes no memory
            users.remove(edge.source)
            if edge.source not in users:
                steps.pop(edge.source, None)
        if layer.name in users:
            steps[layer.name] = outputs
    return last, activity


def _moments(job: Job, params: Params, images: np.ndarray) -> tuple[Params, Params]:
    """Means and variances (units,) float64, by layer, of what batch normalisation would see of all the images."""
    size, totals, n = job.settings.batch_size, dict[str, np.ndarray](), dict[str, int]()
    for first in range(0, len(images), size):
        seen = normalise.Moments()
        _rates(job, params, tf.constant(images[first : first + size], tf.float32), seen)
        for name, sums in seen.sums.items():
            totals[name] = totals.get(name, 0) + sums.numpy().astype(np.float64)
            n[name] = n.get(name, 0) + seen.n[name]
    means = {name: sums[0] / n[name] for name, sums in totals.items()}
    return means, {name: np.maximum(sums[1] / n[name] - means[name] ** 2, 0) for name, sums in totals.items()}


def neurons_of(job: Job) -> tuple[NeuronModel, Any, Any]:
    """(neuron model, constants of its kernels, data type) of a job's layers."""
    neurons = neurons_for(job.neurons, job.phase)
    settings = job.neurons
    model = NeuronModel(
        settings.kind,
        settings.rate_curve == "loihi",
        job.dt_s,
        settings.tau_rc_s,
        settings.tau_ref_s,
        settings.smoothing if settings.kind == "lif" else 0.0,
    )
    return model, layerwise.constants(model, neurons, job.synapse_s), DTYPES[precision_for(job)]


def lift_into(job: Job, layer: Layer, c: Any) -> np.ndarray | None:
    """What comes into a layer's neurons once, (n_neurons,) in units of activation; None where voltages start at 0."""
    return job.lift * c.unit * spread(layer.n_neurons) if job.lift else None


def _rounds(job: Job, layer) -> bool:
    """Whether the layer's weights are rounded: all that are on the chip, when the job wants it."""
    return job.settings.round_weights and layer.name not in job.spec.on_host


def incoming(layer: Layer, outputs: dict, params: dict, dtype: Any, rounded: bool = False) -> Tensor:
    """The sum of the layer's linear maps, each of an output {source: (n, ...)}, without the bias."""
    parts = [_linear(edge, outputs[edge.source], params[edge.param], dtype, rounded) for edge in layer.edges()]
    return parts[0] if len(parts) == 1 else tf.add_n(parts)


def _linear(edge, x, kernel, dtype, rounded: bool):
    """An edge's kernel applied to inputs (n, ...) of its input shape."""
    if rounded:
        kernel = round_to_chip(kernel)
    kernel, x = tf.cast(kernel, dtype), tf.cast(x, dtype)
    if edge.kind == "dense":
        return tf.reshape(tf.matmul(tf.reshape(x, (-1, edge.n_inputs)), kernel), (-1, *edge.output_shape))
    if any(edge.input.pad):
        above, below, left, right = edge.input.pad
        x = tf.pad(x, ((0, 0), (above, below), (left, right), (0, 0)))
    stride, padding = edge.input.stride, edge.input.padding.upper()
    if edge.kind == "conv":
        return tf.nn.conv2d(x, kernel, stride, padding)
    if edge.input.kernel == stride and stride[0] == stride[1]:
        # each pixel becomes a block of its own, by a 1x1 convolution
        size, units = stride[0], edge.units
        blocks = tf.reshape(tf.transpose(kernel, (2, 0, 1, 3)), (1, 1, edge.input_shape[-1], size * size * units))
        return tf.nn.depth_to_space(tf.nn.conv2d(x, blocks, 1, "VALID"), size)
    transposed = tf.transpose(kernel, (0, 1, 3, 2))
    return tf.nn.conv2d_transpose(x, transposed, (x.shape[0], *edge.output_shape), stride, padding)


def round_to_chip(kernel: Tensor) -> Tensor:
    """The kernel on the chip's grid, one scale for the layer; the gradient passes.

    As `nengo_loihi.builder.discretize` rounds a block with weights of both signs: the largest becomes WEIGHT_MAX, and
    all are even, so that they reach from -254 to 254. A layer that is cut into several blocks has a scale for each, and
    finer grids than this one.
    """
    fixed = tf.stop_gradient(kernel)
    step = tf.reduce_max(tf.abs(fixed)) * 2 / WEIGHT_MAX
    levels = tf.clip_by_value(tf.round(fixed / step), -(WEIGHT_MAX // 2), WEIGHT_MAX // 2)
    return kernel + (levels * step - fixed)
