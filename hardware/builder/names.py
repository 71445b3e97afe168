"""The names of a network's parts, given once: in reports, programs, counts and errors a layer is called the same.

A layer is an ensemble, on the chip or on the host, or the neurons that nengo_loihi adds to carry a decoded value. Two
layers never share a name: the second of one label is ``label#2``.
"""

from __future__ import annotations

import re
from typing import Any, Dict, Iterable, List, Optional, Tuple

import nengo
from nengo.connection import LearningRule
from nengo.ensemble import Neurons


def without_address(label: Any) -> str:
    """A label in one line and without memory addresses, which change from run to run."""
    return re.sub(r" at 0x[0-9a-fA-F]+", "", " ".join(str(label if label is not None else "unlabeled").split()))


class LayerNames:
    """Names of the layers of a built network.

    Parameters
    ----------
    model : nengo_loihi.builder.Model
        Built, cut or not. One without a network (made by hand) has blocks only, which keep their own labels.

    Attributes
    ----------
    host : dict of {nengo.Ensemble: str}
        Ensembles off the chip.
    """

    def __init__(self, model: Any):
        self._taken: Dict[str, int] = {}
        self._of: Dict[Any, str] = {}  # ensemble: name
        self._block: Dict[Any, str] = {}
        self._ensemble: Dict[Any, nengo.Ensemble] = {}  # block: ensemble
        net = model.toplevel
        ensembles: List[nengo.Ensemble] = [] if net is None else net.all_ensembles
        on_chip = [e for e in ensembles if model.split.on_chip(e)]
        for k, ensemble in enumerate(on_chip):
            self._of[ensemble] = self._unique(ensemble.label or f"ensemble{k}")
        for ensemble in on_chip:
            for block in _blocks(model.objs, ensemble, "in"):
                self._block[block], self._ensemble[block] = self._of[ensemble], ensemble
        for obj in list(model.objs):
            blocks = _blocks(model.objs, obj, "decoded")
            if blocks:
                name = self._unique(f"{self.of(obj.pre_obj)} decoded for {self.of(obj.post_obj)}")
                self._block.update(dict.fromkeys(blocks, name))
        self.host: Dict[nengo.Ensemble, str] = {}
        for k, ensemble in enumerate(ensembles):
            if ensemble not in self._of:
                self.host[ensemble] = self._unique(ensemble.label or f"host{k}")
        self._of.update(self.host)

    def _unique(self, wanted: str) -> str:
        name, n = wanted, self._taken.get(wanted, 0)
        while name in self._taken:
            n += 1
            name = f"{wanted}#{max(n, 2)}"
        self._taken[wanted] = max(n, 1)
        self._taken.setdefault(name, 1)
        return name

    def of(self, obj: Any) -> str:
        """Name of an ensemble (or its neurons), or of what else a connection begins or ends in."""
        if isinstance(obj, Neurons):
            obj = obj.ensemble
        if obj in self._of:
            return self._of[obj]
        if isinstance(obj, LearningRule):
            return f"the learning rule of {self.of(obj.connection.pre_obj)}"
        return obj.label or type(obj).__name__.lower()

    def block(self, block: Any) -> str:
        """Name of the layer that a block is, or belongs to."""
        return self._block.get(block) or re.sub(r"\[[^\]]*\]$", "", without_address(block.label))

    def ensemble(self, block: Any) -> Optional[nengo.Ensemble]:
        """The ensemble that a block is, or belongs to; None for neurons that nengo_loihi has added."""
        return self._ensemble.get(block)

    def layers(self, model: Any) -> Tuple[List[str], List[int]]:
        """Names of the layers on the chip in the order of their first blocks, and the layer of each block."""
        names: List[str] = []
        layer_of: List[int] = []
        for block in model.blocks:
            members: Iterable[int] = model.block_comp_map.get(block, (0,))
            if next(iter(members)) == 0:  # the first block of a layer holds its first compartment
                names.append(self.block(block))
            layer_of.append(len(names) - 1)
        if model.toplevel is None:  # labels of blocks that were made by hand may be the same
            unique = LayerNames(model)
            names = [unique._unique(name) for name in names]
        return names, layer_of


def _blocks(objs: Dict[Any, Dict[str, Any]], obj: Any, part: str) -> list:
    """The blocks that nengo_loihi has made of a part of an object: one, or several once it is cut."""
    found = objs[obj].get(part) if obj in objs else None
    return list(found) if isinstance(found, list) else [] if found is None else [found]


def part_name(part: Any, names: Optional[LayerNames] = None) -> str:
    """What an error calls a part of a network; "" for what is no part of one."""
    if isinstance(part, nengo.Connection):
        if part.label:
            return f"connection {part.label!r}"
        ends = (_plain(end, names) for end in (part.pre_obj, part.post_obj))
        return "connection from {} to {}".format(*ends)
    if isinstance(part, nengo.Probe):
        return f"probe {part.label!r}" if part.label else f"probe of {part.attr} of {_plain(part.obj, names)}"
    if isinstance(part, nengo.Ensemble):
        return f"layer {_plain(part, names)}"
    if isinstance(part, nengo.Node):
        return _plain(part, names)
    if names is not None and type(part).__name__ == "LoihiBlock":
        return f"layer {names.block(part)!r}"
    return ""


def _plain(obj: Any, names: Optional[LayerNames]) -> str:
    if isinstance(obj, (Neurons, LearningRule)):
        owner = obj.ensemble if isinstance(obj, Neurons) else obj.connection
        return ("the neurons of " if isinstance(obj, Neurons) else "the learning rule of ") + (
            _plain(owner, names) if isinstance(obj, Neurons) else part_name(owner, names)
        )
    if isinstance(obj, nengo.Connection):
        return part_name(obj, names)
    if names is not None:
        return repr(names.of(obj))
    return repr(obj.label) if obj.label else f"an unlabelled {type(obj).__name__.lower()}"
