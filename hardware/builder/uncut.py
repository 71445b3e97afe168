"""nengo_loihi's model of a network before it is cut, and its blocks after.

The partitioner and the rules look at a network as nengo_loihi builds it, so that decode neurons, removed passthrough
nodes and inputs are seen as they will be. nengo_loihi stops at the first limit that is exceeded; here it is asked not
to check, because the rules want to see everything.
"""

from __future__ import annotations

import contextlib
import traceback
import warnings

import nengo
import numpy as np
from cotrain.hardware.builder.door import import_nengo_loihi
from cotrain.hardware.builder.fastbuild import fast_model, split_model
from cotrain.hardware.errors import InputError, UnsupportedError
from nengo.builder.network import build_network, seed_network


def owners(net):
    """Map every ensemble and connection of ``net`` to the network whose config speaks for it."""
    found = {}
    for sub in [net] + net.all_networks:
        found.update(dict.fromkeys(sub.ensembles + sub.connections, sub))
    return found


@contextlib.contextmanager
def undisturbed():
    """Neither the global random state nor the user's warnings change because somebody looks at a network."""
    state = np.random.get_state()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        np.random.set_state(state)


def build_uncut(net, dt_s: float = 0.001, precompute=None):
    """Return nengo_loihi's model of ``net`` with one block per ensemble, in floating point, unchecked.

    Raises
    ------
    InputError
        ``net`` is not a nengo.Network.
    UnsupportedError
        nengo_loihi cannot put the network on the chip at all (a neuron type, synapse or transform that it lacks).
    """
    if not isinstance(net, nengo.Network):
        raise InputError(f"expected a nengo.Network, got {type(net).__name__}")
    builder = import_nengo_loihi("builder.builder")
    splitter = import_nengo_loihi("splitter")
    nengo_loihi = import_nengo_loihi()
    for sub in [net] + net.all_networks:
        nengo_loihi.add_params(sub)
    model = fast_model(dt_s)
    model.validation_level = builder.ValidationLevel.NONE
    try:
        with undisturbed():
            seed_network(net, seeds=model.seeds, seeded=model.seeded)
            model.split = splitter.Split(net, precompute=precompute, remove_passthrough=True)
            build_network(model, net)
            for conn in model.split.passthrough.to_add:
                model.seeds[conn], model.seeded[conn] = None, False
                model.build(conn)
    except (nengo.exceptions.NengoException, NotImplementedError, AssertionError) as error:
        raise UnsupportedError(
            f"nengo_loihi cannot build this network: {_said(error)}; change that part, or mark it off-chip with "
            "net.config[ensemble].on_chip = False"
        ) from error
    return model


def _said(error):
    """What an error of nengo_loihi says, in one line; some of its assertions say nothing but their code."""
    said = " ".join(str(error).split())
    if said:
        return said
    where = traceback.extract_tb(error.__traceback__)[-1]
    return f"{where.line} (in {where.name})"


def cut(model):
    """Cut the blocks of an uncut ``model`` in place, one per core; return {uncut block: {block: compartments}}."""
    with undisturbed():
        block_map = split_model(model)
    model.block_comp_map = {block: members for parts in block_map.values() for block, members in parts.items()}
    return block_map
