"""Keras models (2 and 3, .keras and .h5) from their configuration: no code of the file or of Keras is run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List, Tuple

import numpy as np
from cotrain.hardware.errors import CorruptError, InputError, UnsupportedError
from cotrain.pipeline.networks.readers import keras_layers
from cotrain.pipeline.networks.readers.archive import AGAIN, open_keras
from cotrain.pipeline.networks.readers.final import plain
from cotrain.pipeline.networks.readers.graph import Lowering
from cotrain.pipeline.networks.readers.keras_call import Call, snake
from cotrain.pipeline.networks.readers.keras_layers import LAYERS

if TYPE_CHECKING:
    from cotrain.pipeline.networks.readers.linear import Value

MODELS = ("Functional", "Model", "Sequential")
DEPTH = 20  # models within models
CALLS = 10_000


class KerasModel:
    """A model's file, read; `walk` turns it into a network."""

    def __init__(self, path: Path, max_pool: str):
        self.path, self.max_pool = path, max_pool
        self.config, self.weights = open_keras(path)
        self._check_class(self.config, path.name)
        self.name = path.stem
        self.tail_of = 0  # calls up to the last rectifier

    def input_shape(self) -> Tuple[int, ...]:
        """What the model says of its input, without the batch; None for a side that may be any."""
        for config in self._layers(self.config):
            shape = _batch_shape(config["config"])
            if shape is not None:
                return tuple(shape[1:])
            if config["class_name"] in MODELS:
                return KerasModel.input_shape_of(self, config)
        return ()

    def input_shape_of(self, config: Any) -> Tuple[int, ...]:
        """The same of a model within it."""
        for inner in self._layers(config):
            shape = _batch_shape(inner["config"])
            if shape is not None:
                return tuple(shape[1:])
        return ()

    def channels_first(self) -> bool:
        """Whether the model takes an image as (channels, height, width): the chip's order alone is read."""
        return False

    def walk(self, lowering: Lowering, value: Value, rectifiers: int = -1) -> Tuple[Value, int]:
        """Call `lowering` for each layer; returns the output and the number of rectifiers that were met."""
        walker = _Walker(self, lowering, rectifiers)
        return walker.model(self.config, [value], (), 0), walker.rectified

    def _check_class(self, config: Dict[str, Any], where: str) -> None:
        kind = config.get("class_name")
        if kind not in MODELS or _is_custom(config):
            raise UnsupportedError(
                f"{where} is a model of class {kind}, whose code would have to run; build it with keras.Sequential or "
                "keras.Model(inputs, outputs) and save it again"
            )

    def _layers(self, config: Dict[str, Any]) -> List[Dict[str, Any]]:
        inner = config["config"]
        layers = inner if isinstance(inner, list) else inner.get("layers") if isinstance(inner, dict) else None
        good = isinstance(layers, list) and all(
            isinstance(c, dict) and isinstance(c.get("config"), (dict, list)) and isinstance(c.get("class_name"), str)
            for c in layers
        )
        if not good:
            raise CorruptError(f"{self.path.name}: its configuration names no layers; {AGAIN}")
        return layers


class _Walker:
    """One pass over a model."""

    def __init__(self, model: KerasModel, lowering: Lowering, rectifiers: int):
        self.source, self.lowering, self.rectifiers = model, lowering, rectifiers
        self.rectified = self.calls = 0

    def model(self, config, inputs: List[Any], path: Tuple[str, ...], depth: int):
        """The output of a model whose weights lie below `path`."""
        if depth > DEPTH:
            raise CorruptError(f"{self.source.path.name}: models within models without end; {AGAIN}")
        layers = self.source._layers(config)
        groups = _groups(layers)
        if config["class_name"] == "Sequential":
            value = inputs[0]
            for layer, group in zip(layers, groups):
                value = self.layer(layer, group, [value], path, depth)
            return value
        named = dict(zip((_name(layer) for layer in layers), zip(layers, groups)))
        return self._functional(config["config"], named, inputs, path, depth)

    def _functional(self, config, layers, inputs, path, depth):
        nodes = {name: _nodes(layer, self.source.path.name) for name, (layer, _) in layers.items()}
        starts = _references(config.get("input_layers"), self.source.path.name)
        ends = _references(config.get("output_layers"), self.source.path.name)
        for name in {name for name, (layer, _) in layers.items() if layer["class_name"] in MODELS}:
            _count_calls_from_zero(name, nodes, ends)
        if len(ends) != 1 or len(starts) != len(inputs):
            raise UnsupportedError(
                f"{self.source.path.name} has {len(starts)} inputs and {len(ends)} outputs; one of each is expected"
            )
        values = {(name, 0): value for (name, _), value in zip(starts, inputs)}
        todo, pending = [ends[0]], set()
        while todo:
            key = todo[-1]
            if key in values:
                todo.pop()
                continue
            name, index = key
            if name not in layers or not 0 <= index < len(nodes[name]) or len(todo) > CALLS:
                raise CorruptError(f"{self.source.path.name}: its layers are not connected ({name}); {AGAIN}")
            sources = nodes[name][index]
            missing = [source for source in sources if source not in values]
            if missing:
                pending.add(key)
                if any(source in pending for source in missing):
                    raise CorruptError(f"{self.source.path.name}: layer {name} feeds itself; {AGAIN}")
                todo += missing
                continue
            layer, group = layers[name]
            values[key] = self.layer(layer, group, [values[source] for source in sources], path, depth)
            todo.pop()
        return values[ends[0]]

    def layer(self, layer, group: str, inputs: List[Any], path, depth):
        """The output of one layer."""
        kind, name = layer["class_name"], _name(layer)
        self.calls += 1
        if self.calls > CALLS:
            raise UnsupportedError(f"{self.source.path.name} has more than {CALLS:,} layers, which are not read")
        if kind in MODELS and not _is_custom(layer):
            inner = (*path, name if self.source.weights.legacy else group)
            return self.model(layer, inputs, inner, depth + 1)
        if kind == "InputLayer":
            return inputs[0]
        if kind == "Lambda" or _is_custom(layer):
            raise UnsupportedError(
                f"layer {name} is {_article(kind)}, whose code would have to run; "
                "put layers of Keras itself in its place and save the model again"
            )
        if kind not in LAYERS:
            raise UnsupportedError(f"layer {name} is of type {kind}; {keras_layers.advice(kind)}")

        def weights(*kinds) -> List[np.ndarray]:
            return self.source.weights.of_layer(path, group, name, list(kinds))

        call = Call(self.lowering, layer["config"], name, kind, weights, self.source.max_pool)
        if kind not in keras_layers.AT_END:
            inputs = [plain(value, name) for value in inputs]
        self.lowering.tail = 0 <= self.rectifiers <= self.rectified
        try:
            made = LAYERS[kind](call, inputs)
        except (KeyError, TypeError, IndexError, AttributeError, ValueError) as error:
            if isinstance(error, (InputError, CorruptError)):
                raise
            raise CorruptError(
                f"{self.source.path.name}: layer {name} ({kind}) is not described as Keras does "
                f"({type(error).__name__}: {error}); {AGAIN}"
            ) from None
        self.rectified += call.rectified
        return made


def _is_custom(config: Dict[str, Any]) -> bool:
    module = config.get("module") or "keras"
    registered = config.get("registered_name")
    own = module.split(".")[0] in ("keras", "tf_keras", "tensorflow") if isinstance(module, str) else False
    return not own or (isinstance(registered, str) and ">" in registered and not registered.startswith("Keras>"))


def _article(kind: str) -> str:
    return "a Lambda" if kind == "Lambda" else f"a layer of your own ({kind})"


def _name(config: Dict[str, Any]) -> str:
    inner = config["config"]
    name = config.get("name") or (inner.get("name") if isinstance(inner, dict) else None)
    return name if isinstance(name, str) else config["class_name"].lower()


def _groups(layers) -> List[str]:
    """The names that Keras gives to the layers of a model in its weights: by class, numbered."""
    count: Dict[str, int] = {}
    groups = []
    for layer in layers:
        base = snake(layer["class_name"])
        count[base] = count.get(base, -1) + 1
        groups.append(base + (f"_{count[base]}" if count[base] else ""))
    return groups


def _batch_shape(config):
    if not isinstance(config, dict):
        return None
    for key in ("batch_shape", "batch_input_shape"):
        shape = config.get(key)
        if isinstance(shape, list) and len(shape) > 1 and all(n is None or isinstance(n, int) for n in shape):
            return shape
    return None


def _nodes(layer, where: str) -> List[List[Tuple[str, int]]]:
    """For each call of a layer, the calls that it takes its inputs from."""
    found = []
    for node in layer.get("inbound_nodes") or []:
        if isinstance(node, dict):  # Keras 3
            found.append(_tensors(node.get("args")))
        elif isinstance(node, list):  # Keras 2
            found.append(_references(node, where))
        else:
            raise CorruptError(f"{where}: layer {_name(layer)} names its inputs in an unknown way; {AGAIN}")
    return found


def _count_calls_from_zero(name: str, nodes, ends) -> None:
    """Keras 2 counts the calls of a model within a model from 1, the first one being its own making."""
    references = [call for calls in nodes.values() for call in calls] + [ends]
    used = sorted({index for call in references for other, index in call if other == name})
    place = {index: i for i, index in enumerate(used)}
    for call in references:
        call[:] = [(other, place[index]) if other == name else (other, index) for other, index in call]


def _tensors(tree) -> List[Tuple[str, int]]:
    if isinstance(tree, list):
        return [reference for item in tree for reference in _tensors(item)]
    if isinstance(tree, dict) and tree.get("class_name") == "__keras_tensor__":
        history = tree.get("config", {}).get("keras_history")
        if isinstance(history, list) and len(history) == 3:
            return [(str(history[0]), int(history[1]))]
    return []


def _references(tree, where: str) -> List[Tuple[str, int]]:
    """[["name", node, tensor], ...], or a single one of them."""
    if isinstance(tree, list) and tree and isinstance(tree[0], str):
        tree = [tree]
    if not isinstance(tree, list):
        raise CorruptError(f"{where}: its layers are not connected; {AGAIN}")
    found = []
    for item in tree:
        if not isinstance(item, list) or len(item) < 3 or not isinstance(item[0], str) or not isinstance(item[1], int):
            raise CorruptError(f"{where}: its layers are not connected; {AGAIN}")
        found.append((item[0], item[1]))
    return found
