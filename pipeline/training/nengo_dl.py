"""Training in NengoDL: the nengo.Network itself, simulated step by step, is what the gradients go through."""

from __future__ import annotations

import nengo
import numpy as np
from cotrain.pipeline.networks import Params, build, neurons_for
from cotrain.pipeline.neurons.nengo_types import nengo_dl, tf
from cotrain.pipeline.training.backend import Job, StepResult, in_full_batches
from cotrain.pipeline.training.losses import activity_penalty
from cotrain.pipeline.training.unrolled.device import DEVICES, device_for

graph_optimizer = nengo_dl.graph_optimizer


class NengoDLBackend:
    """See `pipeline.training.backend.Backend`."""

    def __init__(self, job: Job, params: Params):
        self.job = job
        neurons = neurons_for(job.neurons, job.phase)
        built = build(job.spec, neurons, params, job.synapse_s, bias_nodes=True, lift=job.lift, seed=job.seed)
        with built.net:
            nengo_dl.configure_settings(
                trainable=None,
                stateful=False,  # every batch starts at rest
                use_loop=job.n_steps > 1,
                # NengoDL merges the signals of like layers, which then follow each other in one array that each of
                # them rewrites; unmerged, a training step of LocNet takes a tenth of the time
                planner=graph_optimizer.noop_planner,
                sorter=graph_optimizer.noop_order_signals,
            )
            for ensemble in built.net.ensembles:
                built.net.config[ensemble].trainable = False  # biases live in the nodes' connections
                built.net.config[ensemble.neurons].trainable = False
            rates = [nengo.Probe(e.neurons, label=f"rates of {e.label}") for e in built.layers.values()]
        for connection in built.net.all_connections:
            held = connection in built.connections.values()
            built.net.config[connection].trainable = held
        self.built, self.rate_probes = built, rates
        self.sim = nengo_dl.Simulator(
            built.net, dt=job.dt_s, minibatch_size=job.settings.batch_size, seed=job.seed, progress_bar=False,
            device=None if job.settings.device == "auto" else DEVICES[device_for(job)],
        )  # fmt: skip
        self.optimizer = tf.keras.optimizers.legacy.Adam()
        self.variables = self.sim.keras_model.trainable_variables
        self.optimizer._create_all_weights(self.variables)
        self._train = tf.function(self._train_step)
        self._predict = tf.function(self._forward)

    def train_step(self, images: np.ndarray, targets: np.ndarray, learning_rate: float) -> StepResult:
        self.optimizer.learning_rate = learning_rate
        loss, rates_hz = self._train(_flat(images), tf.constant(targets, tf.float32))
        return StepResult(float(loss), rates_hz.numpy())

    def predict(self, images: np.ndarray) -> np.ndarray:
        return in_full_batches(
            lambda batch: self._predict(_flat(batch))[0].numpy(), images, self.job.settings.batch_size
        )

    def params(self) -> Params:
        names = list(self.built.connections)
        weights = self.sim.data.get_params(*((self.built.connections[n], "weights") for n in names))
        edges = {edge.param: edge for edge in self.built.spec.edges()}
        shapes = self.built.spec.param_shapes()
        params = {}
        for name, value in zip(names, weights, strict=True):
            value = edges[name].kernel_of(value) if name in edges else value.reshape(shapes[name])
            params[name] = value.astype(np.float32)
        return params

    def state(self) -> dict[str, np.ndarray]:
        values = [v.numpy() for v in self.variables] + self.optimizer.get_weights()
        return {f"{i:03d}": np.asarray(value) for i, value in enumerate(values)}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        values = [state[key] for key in sorted(state)]
        for variable, value in zip(self.variables, values, strict=False):
            variable.assign(value)
        self.optimizer.set_weights(values[len(self.variables) :])

    def close(self) -> None:
        self.sim.close()

    def _forward(self, images):
        """Prediction (n, size), and each layer's output as the mean over the presentation (n, n_neurons)."""
        job, n_steps = self.job, self.job.n_steps
        inputs = []
        for node in self.sim.node_inputs:
            if node is self.built.image:
                value = images[:, tf.newaxis]
            else:  # the ones that biases come from
                value = tf.constant(node.output, images.dtype)[tf.newaxis, tf.newaxis]
            inputs.append(tf.broadcast_to(value, (job.settings.batch_size, n_steps, node.size_out)))
        inputs.append(tf.fill((job.settings.batch_size, 1), n_steps))
        outputs = dict(zip(self.sim.model.probes, self.sim.keras_model(inputs), strict=False))
        prediction = tf.reduce_mean(outputs[self.built.output][:, -job.readout_steps :], axis=1)
        return prediction, [tf.reduce_mean(outputs[probe], axis=1) for probe in self.rate_probes]

    def _train_step(self, images, targets):
        job = self.job
        scale = job.neurons.rate_scale_hz  # an activation of 1
        with tf.GradientTape() as tape:
            prediction, activity = self._forward(images)
            loss = job.task.loss(job, prediction, targets)
            loss += activity_penalty(activity, job)
        gradients = tape.gradient(loss, self.variables)
        if job.settings.clip_norm:
            gradients, _ = tf.clip_by_global_norm(gradients, job.settings.clip_norm)
        self.optimizer.apply_gradients(zip(gradients, self.variables, strict=True))
        return loss, scale * tf.stack([tf.reduce_mean(a) for a in activity])


def _flat(images: np.ndarray):
    return tf.constant(images.reshape(len(images), -1), tf.float32)
