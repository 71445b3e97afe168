"""Turn channels-last images into channels-first ones on the chip, where nobody outside can tell.

With the channels first, a core's axons start at pixels and not at pixels times channels. More of them start below 256,
so more of them share their weights (see `costs`), and a core holds more of a layer. The neurons of the
ensembles concerned change places; everything that speaks of them one by one changes with them. What runs on the host
stays as it is: the chip reads it in another order.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Tuple

import nengo
import numpy as np
from nengo.ensemble import Neurons
from nengo.transforms import ChannelShape, ConvolutionTranspose

PER_NEURON = ("gain", "bias", "max_rates", "intercepts")


def reorder(net: nengo.Network, model: Any) -> Tuple[Dict[nengo.Ensemble, np.ndarray], Callable[[], None]]:
    """Put the channels of ``net``'s convolutions first, wherever the order of the neurons is nobody's business.

    An ensemble may be turned where all its connections are convolutions over the whole image or dense ones on the
    chip, it has no probe, no block shape, no decoded connection and no parameter that is drawn neuron by neuron.
    Ensembles that convolutions tie together turn together or not at all. Results stay the same bit for bit.

    Parameters
    ----------
    net : nengo.Network
        Changed in place.
    model : nengo_loihi.builder.Model
        Built from ``net``: it knows what lies on the chip, and the seeds of random transforms.

    Returns
    -------
    (dict of {nengo.Ensemble: (n,) ndarray}, callable)
        For every reordered ensemble, the old number of each of its neurons; and a function that undoes everything.
    """
    orders: Dict[nengo.Ensemble, np.ndarray] = {}
    undo: List[Tuple[Any, str, Any]] = []
    for images, convolutions in _components(net, model):
        if not all(_is_free(net, model, ensemble, shape, convolutions) for ensemble, shape in images.items()):
            continue
        turned = {ensemble: _order(shape) for ensemble, shape in images.items()}
        for conn in net.all_connections:
            before, after = turned.get(_ensemble(conn.pre_obj)), turned.get(_ensemble(conn.post_obj))
            if conn in convolutions:
                if before is None:  # from the host
                    values = np.arange(conn.pre_obj.size_out)[conn.pre_slice]
                    values = values[_order(conn.transform.input_shape)]
                    _set(undo, conn, "pre", conn.pre_obj[values.tolist()])
                _set(undo, conn, "transform", _channels_first(conn.transform))
            elif before is not None or after is not None:
                matrix = conn.transform.sample(rng=np.random.RandomState(model.seeds[conn]))
                matrix = matrix if before is None else matrix[:, before]
                matrix = matrix if after is None else matrix[after]
                _set(undo, conn, "transform", nengo.Dense(matrix.shape, matrix))
        for ensemble, order in turned.items():
            for name in PER_NEURON:
                value = getattr(ensemble, name)
                if isinstance(value, np.ndarray) and value.ndim == 1:
                    _set(undo, ensemble, name, value[order])
        orders.update(turned)

    def restore():
        for obj, name, value in reversed(undo):
            _write(obj, name, value)

    return orders, restore


def _set(undo, obj, name, value):
    undo.append((obj, name, getattr(obj, name)))
    _write(obj, name, value)


def _write(obj, name, value):
    if name == "pre":  # nengo lets nobody move the end of a connection; this is the same end, read in another order
        nengo.Connection.pre.data[obj] = value
    else:
        setattr(obj, name, value)


def _ensemble(obj):
    return obj.ensemble if isinstance(obj, Neurons) else obj


def _is_convolution(conn):
    return isinstance(conn.transform, (nengo.Convolution, ConvolutionTranspose)) and conn.transform.dimensions == 2


def _components(net, model):
    """Ensembles that convolutions on the chip tie together: [({ensemble: ChannelShape}, [convolutions])]."""
    groups = []
    for conn in net.all_connections:
        if not _is_convolution(conn) or not conn.transform.channels_last:
            continue
        pre, post = _ensemble(conn.pre_obj), _ensemble(conn.post_obj)
        if not model.split.on_chip(post):
            continue
        images = {post: conn.transform.output_shape}
        if model.split.on_chip(pre):
            images[pre] = conn.transform.input_shape
        convolutions = [conn]
        apart = []
        for other_images, other_convolutions in groups:
            if images.keys() & other_images.keys():
                images.update(other_images)
                convolutions = other_convolutions + convolutions
            else:
                apart.append((other_images, other_convolutions))
        groups = apart + [(images, convolutions)]
    return groups


def _is_free(net, model, ensemble, shape, convolutions):
    """Whether the order of an ensemble's neurons, an image of ``shape``, can change without being seen."""
    owner = next(sub for sub in [net] + net.all_networks if ensemble in sub.ensembles)
    if owner.config[ensemble].block_shape is not None or ensemble.noise is not None:
        return False
    if any(_ensemble(probe.obj) is ensemble for probe in net.all_probes):
        return False
    given = ensemble.gain is not None or ensemble.bias is not None
    drawn = ("gain", "bias") if given else ("max_rates", "intercepts")
    if not all(_is_given(getattr(ensemble, name)) for name in drawn):
        return False
    return all(_keeps_up(conn, model, ensemble, shape, convolutions) for conn in net.all_connections)


def _is_given(value):
    """Whether a value is given, and not drawn neuron by neuron."""
    if isinstance(value, nengo.dists.Choice):
        return len(value.options) == 1
    return not isinstance(value, nengo.dists.Distribution)


def _keeps_up(conn, model, ensemble, shape, convolutions):
    """Whether a connection, if it touches ``ensemble`` at all, can follow a new order of its neurons."""
    ends = ((conn.pre_obj, conn.pre_slice), (conn.post_obj, conn.post_slice))
    if not any(_ensemble(end) is ensemble for end, _ in ends):
        return True
    if any(_ensemble(end) is ensemble and (end is ensemble or not _is_whole(part)) for end, part in ends):
        return False
    if isinstance(conn.post_obj, nengo.connection.LearningRule) or conn.learning_rule_type is not None:
        return False
    if _is_convolution(conn):
        shapes = (conn.transform.input_shape, conn.transform.output_shape)
        seen = {s for (end, _), s in zip(ends, shapes) if _ensemble(end) is ensemble}
        return conn in convolutions and seen == {shape}
    # the host sums floats, and sums them differently in another order
    on_chip = model.split.on_chip(_ensemble(conn.post_obj))
    return on_chip and isinstance(conn.transform, nengo.Dense) and len(conn.transform.shape) == 2


def _is_whole(part):
    """Whether a part of an object, by a slice, list or array, is written as all of it."""
    return isinstance(part, slice) and part == slice(None)


def _order(shape):
    """(n,) old number of each value when an image is turned from channels last to channels first."""
    numbers = np.arange(shape.size).reshape(shape.shape)
    return np.moveaxis(numbers, -1, 0).ravel()


def _channels_first(transform):
    def first(shape):
        return ChannelShape.from_space_and_channels(shape.spatial_shape, shape.n_channels, channels_last=False)

    turned = {
        "input_shape": first(transform.input_shape),
        "kernel_size": transform.kernel_size,
        "strides": transform.strides,
        "padding": transform.padding,
        "channels_last": False,
        "init": transform.init,
    }
    if isinstance(transform, ConvolutionTranspose):
        turned["output_shape"] = first(transform.output_shape)
    if getattr(transform, "groups", 1) != 1:
        turned["groups"] = transform.groups
    return type(transform)(transform.n_filters, **turned)
