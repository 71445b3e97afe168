"""What is known of a network: the counts that an estimate starts from, read strictly.

Every number is of one inference of one copy of the network. A key that is missing or null is not known, which is no
error; a key that does not exist, a number that cannot be, or two that contradict each other, is.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Any, Iterable, Mapping, Optional, Sequence, Tuple

from cotrain.hardware.chip.limits import LOIHI1
from cotrain.hardware.errors import InputError

INPUTS = ("streamed", "once", "on-chip")
SYNAPSES = ("convolution", "dense", "sparse")
X86_PER_CHIP = 3  # Davies et al. 2018
LARGEST = 1e15  # of any count; a larger one is a mistake


@dataclass(frozen=True)
class LayerCounts:
    """One layer on the chip; None is not known.

    Attributes
    ----------
    name : str
    neurons : int
    cores : int, optional
        That it occupies.
    synapse : {"convolution", "dense", "sparse"}, optional
        What leads into it.
    spikes_per_inference : float, optional
        That it emits.
    synops_per_inference : float, optional
        Synaptic operations that arrive at it: a weight added to an accumulator.
    messages_per_inference : float, optional
        Messages that its spikes become, one for each core that a spike goes to.
    """

    name: str
    neurons: int
    cores: Optional[int] = None
    synapse: Optional[str] = None
    spikes_per_inference: Optional[float] = None
    synops_per_inference: Optional[float] = None
    messages_per_inference: Optional[float] = None

    @property
    def least_cores(self) -> int:
        """Cores that its compartments alone need."""
        return -(-self.neurons // LOIHI1.compartments)


@dataclass(frozen=True)
class Counts:
    """A network; None is not known. `layers` are a chain, input first.

    Attributes
    ----------
    n_steps : int
        Of one inference.
    chips, cores : int, optional
        In use.
    powered_cores : int, optional
        Cores of the board that have power.
    x86_in_use : int, optional
        x86 cores that take part, of three a chip.
    x86_active_ratio : float, optional
        Share of the time that they compute.
    input : {"streamed", "once", "on-chip"}, optional
        The host sends input at each step, once a sample, or never.
    input_spikes_per_inference : float, optional
        That enter the first layer.
    seconds_per_inference : float, optional
        Where it was measured: the estimate of the time is then left out of the energy.
    """

    name: str
    n_steps: int
    layers: Tuple[LayerCounts, ...]
    chips: Optional[int] = None
    cores: Optional[int] = None
    powered_cores: Optional[int] = None
    x86_in_use: Optional[int] = None
    x86_active_ratio: Optional[float] = None
    input: Optional[str] = None
    input_spikes_per_inference: Optional[float] = None
    seconds_per_inference: Optional[float] = None


def read(counts: Mapping[str, Any], where: str = "counts") -> Counts:
    """Counts from plain JSON values.

    Parameters
    ----------
    counts : mapping
        As `cotrain estimate` takes them.
    where : str
        What messages start with: the file.

    Raises
    ------
    InputError
        One line: the key, what it is, what was expected.
    """
    known = Counts.__dataclass_fields__
    _keys(counts, known, where)
    layers = counts.get("layers")
    if not isinstance(layers, Sequence) or isinstance(layers, (str, bytes)) or not layers:
        shown = "empty" if isinstance(layers, Sequence) and not layers else _show(layers)
        raise InputError(f"{where}: layers is {shown}; expected a list of at least one layer")
    found = Counts(
        name=_text(counts, "name", where, None) or "network",
        n_steps=_needed(counts, "n_steps", where),
        layers=tuple(_layer(layer, f"{where}: layers[{i}]", i) for i, layer in enumerate(layers)),
        chips=_whole(counts, "chips", where),
        cores=_whole(counts, "cores", where),
        powered_cores=_whole(counts, "powered_cores", where),
        x86_in_use=_whole(counts, "x86_in_use", where, least=0),
        x86_active_ratio=_number(counts, "x86_active_ratio", where, most=1.0),
        input=_text(counts, "input", where, INPUTS),
        input_spikes_per_inference=_number(counts, "input_spikes_per_inference", where),
        seconds_per_inference=_number(counts, "seconds_per_inference", where),
    )
    _agree(found, where)
    return found


def _layer(layer: Any, where: str, index: int) -> LayerCounts:
    _keys(layer, LayerCounts.__dataclass_fields__, where)
    return LayerCounts(
        name=_text(layer, "name", where, None) or f"layer {index + 1}",
        neurons=_needed(layer, "neurons", where),
        cores=_whole(layer, "cores", where),
        synapse=_text(layer, "synapse", where, SYNAPSES),
        spikes_per_inference=_number(layer, "spikes_per_inference", where),
        synops_per_inference=_number(layer, "synops_per_inference", where),
        messages_per_inference=_number(layer, "messages_per_inference", where),
    )


def _agree(counts: Counts, where: str) -> None:
    """Raise InputError where two counts contradict each other."""
    for i, layer in enumerate(counts.layers):
        at = f"{where}: layers[{i}] ({layer.name})"
        if layer.cores is not None and layer.cores < layer.least_cores:
            raise InputError(
                f"{at}: {layer.neurons} neurons on cores = {layer.cores}; expected at least {layer.least_cores}, "
                f"as a core holds {LOIHI1.compartments}"
            )
        spikes, most = layer.spikes_per_inference, layer.neurons * counts.n_steps
        if spikes is not None and spikes > most * (1 + 1e-9):
            raise InputError(
                f"{at}: spikes_per_inference is {_show(spikes)}; expected at most {most}, one a neuron and step"
            )
    for few, many, each in (
        ("cores", "chips", LOIHI1.cores_per_chip), ("powered_cores", "chips", None), ("cores", "powered_cores", 1),
        ("x86_in_use", "chips", X86_PER_CHIP),
    ):  # fmt: skip
        a, b = getattr(counts, few), getattr(counts, many)
        if each is not None and a is not None and b is not None and a > b * each:
            raise InputError(f"{where}: {few} is {a}, but {many} is {b}; expected at most {b * each}")
    if counts.seconds_per_inference == 0:
        raise InputError(f"{where}: seconds_per_inference is 0; expected more")


def _keys(value: Any, known: Mapping[str, Any], where: str) -> None:
    if not isinstance(value, Mapping):
        raise InputError(f"{where} is {_show(value)}; expected an object with {', '.join(known)}")
    for key in value:
        if key not in known:
            raise InputError(f"{where}: unknown key {_show(key)}{_nearest(key, known)} there are {', '.join(known)}")


def _nearest(word: Any, known: Iterable[str]) -> str:
    """ ", did you mean ...?", or a semicolon."""
    known = list(known)
    near = difflib.get_close_matches(str(word), known, 1) or [k for k in known if k.startswith(str(word))]
    return f", did you mean {near[0]!r}?" if near else ";"


def _text(value: Mapping[str, Any], key: str, where: str, allowed: Optional[Sequence[str]]) -> Optional[str]:
    found = value.get(key)
    if found is None:
        return None
    if not isinstance(found, str):
        raise InputError(f"{where}: {key} is {_show(found)}; expected {_choice(allowed) if allowed else 'a text'}")
    if allowed and found not in allowed:
        raise InputError(f"{where}: {key} is {_show(found)}{_nearest(found, allowed)} expected {_choice(allowed)}")
    return found


def _number(
    value: Mapping[str, Any], key: str, where: str, least: float = 0.0, most: float = LARGEST
) -> Optional[float]:
    found = value.get(key)
    if found is None:
        return None
    if type(found).__module__ == "numpy" and getattr(found, "ndim", 1) == 0:
        found = found.item()
    # compared as it is, because a whole number may be too large for a float
    if isinstance(found, bool) or not isinstance(found, (int, float)) or not least <= found <= most:
        raise InputError(f"{where}: {key} is {_show(found)}; expected a number from {least:g} to {most:g}")
    return float(found)


def _whole(value: Mapping[str, Any], key: str, where: str, least: int = 1) -> Optional[int]:
    return None if value.get(key) is None else _needed(value, key, where, least)


def _needed(value: Mapping[str, Any], key: str, where: str, least: int = 1) -> int:
    try:
        number = _number(value, key, where, least)
    except InputError:
        number = None
    if number is None or number != int(number):
        shown = _show(value.get(key))
        raise InputError(f"{where}: {key} is {shown}; expected a whole number from {least} to {LARGEST:g}")
    return int(number)


def _choice(allowed: Sequence[str]) -> str:
    return f"{', '.join(allowed[:-1])} or {allowed[-1]}"


def _show(value: Any) -> str:
    """A value in a message, short and on one line."""
    if value is None:
        return "missing"
    if isinstance(value, int) and abs(value) > LARGEST:  # Python refuses to print very large ones
        return f"a whole number of {value.bit_length():,} bits"
    shown = repr(value) if isinstance(value, (str, int, float)) else f"of type {type(value).__name__}"
    return shown if len(shown) <= 40 else f"{shown[:37]}..."
