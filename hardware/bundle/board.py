"""The board: where it is, the network on it, and the energy that it takes.

Nothing here has run on silicon: NxSDK is proprietary. The tests drive it through nengo-loihi's own hardware interface
and board builder, with a stand-in for NxSDK that computes with the registers that they write.

Sources of the calls into NxSDK: nengo-loihi 1.1.0 (hardware/interface.py), and for the energy probes the public
benchmark scripts of nengo-loihi's authors (`PerformanceProbeCondition`, power in mW, energy in uJ, time in us), and for
`powerProfileStats` those of SLAYER's (`power["dynamic"]`) and others' (`power["core"]["dynamic"]`).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import warnings
from typing import Any, Dict, List, Mapping, Optional

import nengo
import numpy as np
from cotrain.hardware.builder import door
from cotrain.hardware.bundle.energy import REPEATS, Run, measure
from cotrain.hardware.bundle.folder import Folder, Record
from cotrain.hardware.bundle.record import output_record, spike_counts
from cotrain.hardware.errors import InputError, MisfitError, MissingError

# Of Intel's neuromorphic research cloud; used where there is no `sinfo` to ask.
PARTITIONS = ("nahuku32", "nahuku32_2h", "loihi_2h", "loihiinf", "pohoiki")
# The board of that cloud with power telemetry: Intel's scripts refuse to measure energy on another one.
ENERGY_BOARD = "ncl-ext-ghrd-01"
ENERGY_STEPS = 5000  # of a run, about 50 ms: a single presentation is over before the power meter has seen it
# Phases of a step, and the energy probe's total of each in us.
PHASES = (("spiking", "totalSpikingTime"), ("management", "totalManagementTime"), ("host", "totalHostTime"))
PROBE_BUFFER = 1024  # bins that the energy probe keeps
# Steps per second of an idle network on one chip and across chips (nengo-loihi's authors' benchmark scripts).
IDLE_STEPS_PER_S = {False: 125e3, True: 65e3}
IDLE_S = 10.0


def partitions() -> List[str]:
    """Partitions of this cluster: what `sinfo` lists, or else the known ones of Intel's cloud."""
    if shutil.which("sinfo"):
        try:
            listed = subprocess.run(
                ["sinfo", "--noheader", "--format=%R"], stdout=subprocess.PIPE, universal_newlines=True, timeout=30
            ).stdout.split()
        except (OSError, subprocess.SubprocessError):
            listed = []
        if listed:
            return sorted(set(listed))
    return list(PARTITIONS)


def check_board(environ: Mapping[str, str]) -> Dict[str, Any]:
    """Where ``--target loihi`` would run, from the environment alone; nothing is assumed.

    Returns
    -------
    dict
        For the record: partition, board, and the other settings that NxSDK reads.

    Raises
    ------
    InputError
        A partition that does not exist, or no board is named.
    MissingError
        NxSDK cannot be imported.
    """
    partition = environ.get("PARTITION")
    if partition:
        known = partitions()
        if partition not in known:
            raise InputError(f"PARTITION={partition} does not exist; set it to one of {', '.join(known)}")
    if not door.hardware.HAS_NXSDK:
        raise MissingError(
            "--target loihi needs Intel's NxSDK, which this Python cannot import; "
            "install it as README.md says, or use --target emulator"
        )
    usb = environ.get("KAPOHOBAY") == "1"
    if not partition and not usb:
        raise InputError(
            f"--target loihi: no board is named; set PARTITION to one of {', '.join(partitions())} "
            "(source environment.sh), or KAPOHOBAY=1 for the USB stick"
        )
    shim = door.interface
    return {
        "partition": partition,
        "board": environ.get("BOARD"),
        "kapoho_bay": usb,
        "slurm": environ.get("SLURM"),
        "slurm_job": environ.get("SLURM_JOB_ID"),
        "lmt_options": environ.get("LMTOPTIONS"),
        "nxsdk": str(shim.nxsdk.__version__),
    }


class BoardTarget:
    """The network on the board. Each sample gets a simulator of its own, so that it starts at rest.

    Parameters
    ----------
    folder : Folder
    layers : int
        For the first `layers` samples, count the spikes of every layer too: one more run a layer, with a probe on that
        layer alone and spikes read through SNIPs (NxSDK has too few spike counters to read them all at once).
    """

    def __init__(self, folder: Folder, layers: int = 0):
        self.folder, self.count_layers = folder, layers
        self.options = dict(folder.description["hardware_options"])
        self.precompute = bool(folder.description["precompute"])
        self.chips: List[int] = []

    def run(self, index: int) -> Record:
        """The record of sample `index`."""
        host, *on_chip = self.folder.layers
        out = self._run(index, host, self.precompute)
        record = output_record(out["output"], self.folder.readout_steps)
        record[f"spikes/{host}"] = spike_counts(out["spikes"])
        if index < self.count_layers:
            for name in on_chip:
                record[f"spikes/{name}"] = spike_counts(self._run(index, name, precompute=False)["spikes"])
        return record

    def _network(self, index: int, layer: str):
        built = self.folder.build()
        built.image.output = self.folder.images[index].astype(np.float64)
        with built.net:
            return built, nengo.Probe(built.layers[layer].neurons)

    def _simulator(self, net, precompute: bool, **options):
        description = self.folder.description
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Model is precomputable")
            return door.ReferenceSimulator(
                net,
                dt=description["dt_s"],
                seed=description["seed"],
                target="loihi",
                precompute=precompute,
                hardware_options={**self.options, **options},
            )

    def _run(self, index: int, layer: str, precompute: bool) -> Dict[str, np.ndarray]:
        built, spikes = self._network(index, layer)
        sim = self._simulator(built.net, precompute)
        self.chips = [int(chip.id) for chip in sim.sims["loihi"].nxsdk_board.n2Chips]
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message="Too many spikes")  # it drops what exceeds the limit
            try:
                with sim:
                    sim.run_steps(self.folder.n_steps)
            except UserWarning as warning:
                raise MisfitError(
                    f"sample {index}: {str(warning).split('.')[0]}; the board would drop spikes: pack a bundle with "
                    "the samples that you want to run"
                ) from None
        return {"output": np.array(sim.data[built.output]), "spikes": np.array(sim.data[spikes])}

    def hold(self, n_steps: int) -> Run:
        """Sample 0, held for `n_steps` steps under the energy probe."""
        built, _ = self._network(0, self.folder.layers[0])
        sim = self._simulator(built.net, self.precompute)
        self.chips = [int(chip.id) for chip in sim.sims["loihi"].nxsdk_board.n2Chips]
        return _probed(sim, n_steps)

    def rest(self, seconds: float) -> Run:
        """A network of one neuron a chip that does nothing, for about `seconds`."""
        n_chips = len(self.chips)
        with nengo.Network(seed=0) as net:
            resting = {"neuron_type": door.LoihiSpikingRectifiedLinear(), "gain": [1.0], "bias": [0.0]}
            chain = [nengo.Ensemble(1, 1, **resting) for _ in range(n_chips + 1)]
            for pre, post in zip(chain, chain[1:]):
                nengo.Connection(pre.neurons, post.neurons, synapse=0.005)
        spread = door.RoundRobin()
        sim = self._simulator(net, precompute=True, n_chips=n_chips, allocator=spread)
        return _probed(sim, int(seconds * IDLE_STEPS_PER_S[n_chips > 1]))

    def energy(self, samples: Optional[int] = None, repeats: int = REPEATS, idle_s: float = IDLE_S) -> Dict[str, Any]:
        """Measure the energy of a presentation; see `hardware.bundle.energy`.

        Parameters
        ----------
        samples : int, optional
            Presentations in all runs together; default `ENERGY_STEPS` steps a run.
        repeats : int
            Runs.
        idle_s : float
            About how long the board rests before and after each.
        """
        n_steps = ENERGY_STEPS
        if samples is not None:
            n_steps = max(1, -(-samples // repeats)) * self.folder.n_steps
        if not self.chips:
            self.hold(self.folder.n_steps)  # wakes the x86 cores, and says on how many chips the network lies
        return measure(self, n_steps, repeats, idle_s)

    def close(self) -> None:
        """Nothing stays open between samples."""


def energy_probe(sim: Any, n_steps: int) -> Any:
    """Add NxSDK's energy probe to a simulator that has not been entered yet."""
    from nxsdk.api.enums.api_enums import ProbeParameter
    from nxsdk.graph.monitor.probes import PerformanceProbeCondition

    bin_steps = 4
    while bin_steps * PROBE_BUFFER < n_steps:  # all bins have to fit its buffer
        bin_steps *= 2
    condition = PerformanceProbeCondition(tStart=1, tEnd=n_steps, bufferSize=PROBE_BUFFER, binSize=bin_steps)
    return sim.sims["loihi"].nxsdk_board.probe(ProbeParameter.ENERGY, condition)


def _probed(sim, n_steps: int) -> Run:
    """Run a simulator that has not been entered yet, under the energy probe."""
    probe = energy_probe(sim, n_steps)
    board = sim.sims["loihi"].nxsdk_board
    with sim:
        sim.run_steps(n_steps)
    return read_probe(probe, board)


def read_probe(probe: Any, board: Any) -> Run:
    """What an energy probe (mW, uJ, us) and NxSDK's split of the power (mW) say, in SI units."""
    monitor = getattr(board, "energyTimeMonitor", None)
    power = getattr(getattr(monitor, "powerProfileStats", None), "power", None)

    def watts(*keys):
        found = power
        for key in keys:
            if not isinstance(found, dict) or key not in found:
                return None
            found = found[key]
        return float(found) * 1e-3

    return Run(
        power_w=float(np.mean(np.asarray(probe.rawPowerTotal, dtype=float))) * 1e-3,
        energy_j=float(probe.totalEnergy) * 1e-6,
        time_s=float(probe.totalExecutionTime) * 1e-6,
        static_w=watts("static"),
        dynamic_w=watts("dynamic"),
        cores_w=watts("core", "dynamic"),
        phases_s={phase: float(getattr(probe, name)) * 1e-6 for phase, name in PHASES if hasattr(probe, name)},
    )


def measure_energy(board: BoardTarget, where: Dict[str, Any], samples: Optional[int] = None) -> Dict[str, Any]:
    """`BoardTarget.energy`, or {"skipped": why}: results that are already there must not be lost for it."""
    if where["board"] != ENERGY_BOARD and not where["kapoho_bay"]:
        return {"skipped": f"power is metered on board {ENERGY_BOARD} only; set BOARD={ENERGY_BOARD}"}
    if "--skip-power=1" in (where.get("lmt_options") or ""):
        return {"skipped": "LMTOPTIONS=--skip-power=1 turns the power meter off; unset LMTOPTIONS"}
    try:
        return board.energy(samples)
    except Exception as error:  # whatever NxSDK raises
        return {"skipped": f"the measurement failed: {type(error).__name__}: {error}"}


def environment() -> Dict[str, Any]:
    """`check_board` of this process."""
    return check_board(os.environ)
