"""A stand-in for NxSDK's board, for nengo-loihi's hardware interface: it computes with the registers that are written.

nengo-loihi 1.1.0 has a mock of NxSDK's version only (hardware/tests/test_interface.py, used here too). Below it, this
module takes the place of the board: `nengo_loihi.hardware` allocates, validates, builds and drives it as it would
the real one. The arithmetic is that of Davies et al. 2018 with nengo-loihi's readings of it; no object of nengo-loihi's
emulator or of ours is used.
"""

from __future__ import annotations

import socket
import struct
import sys
import threading
import types
import warnings
from collections import defaultdict
from types import SimpleNamespace

import numpy as np

IDLE_MW = 1000.0
US_PER_STEP = 8.0
X86_MW, STATIC_MW = 20.0, 950.0
NOISE_MW = []  # what the power meter adds to the next runs, the first first


class Register:
    """A register or a file of registers: what is written can be read back."""

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return self.__dict__.setdefault(name, Register())

    def __getitem__(self, index):
        return self.__dict__.setdefault("entries", {}).setdefault(int(index), Register())

    def configure(self, **values):
        self.__dict__.update(values)


class Core(Register):
    def __init__(self, chip, index):
        self.parent, self.id = chip, 16 + 4 * index  # ids that are not indices
        self.axons, self.arriving = defaultdict(list), []
        self.cxState.core = self

    def createDiscreteAxon(self, srcCxId, dstChipId, dstCoreId, dstSynMapId):
        self.axons[srcCxId].append((dstChipId, dstCoreId, dstSynMapId, 0))

    def createPop32Axon(self, popId, srcCxId, srcRelCxId, dstChipId, dstCoreId, dstSynMapId):
        self.axons[srcCxId].append((dstChipId, dstCoreId, dstSynMapId, srcRelCxId))

    createPop16Axon = createPop32Axon

    def start(self):
        """Read the registers into arrays."""
        cells = [self.cxCfg[i] for i in range(len(self.cxCfg.entries))]
        profiles = [self.cxProfileCfg[c.cxProfile] for c in cells]
        self.bias = np.array([int(c.bias) << int(c.biasExp) for c in cells])
        self.vth = np.array([int(self.vthProfileCfg[c.vthProfile].staticCfg.vth) << 6 for c in cells])
        self.decay_u = np.array([4095 - int(p.decayU) for p in profiles])
        self.decay_v = np.array([4096 - int(p.decayV) for p in profiles])
        self.refractory = np.array([int(p.refractDelay) for p in profiles])
        limits = self.dendriteSharedCfg
        self.v_range = 1 - 2**limits.negVmLimit, 2 ** (2 * limits.posVmLimit + 9) - 1
        self.u, self.v, self.r = (np.zeros(len(cells), np.int64) for _ in range(3))
        self.spiked = np.zeros(len(cells), bool)
        assert self.numUpdates.numUpdates == -(-len(cells) // 4)

    def step(self):
        q = np.zeros(len(self.u), np.int64)
        for axon, atom in self.arriving:
            entry = self.synapseMap[axon]
            kind = next(k for k in ("discrete", "population32", "population16") if f"{k}MapEntry" in entry.__dict__)
            base = int(getattr(entry, f"{kind}MapEntry").cxBase) * (4 if kind == "population16" else 1)
            first = entry.synapsePtr + atom * entry.synapseLen
            for synapse in (self.synapses[i] for i in range(first, first + entry.synapseLen)):
                exponent = 6 + self.synapseFmt[synapse.synFmtId].wgtExp
                q[base + synapse.CIdx] += int(synapse.Wgt) << exponent
        self.arriving = []
        self.u = np.sign(self.u) * (np.abs(self.u) * self.decay_u >> 12) + q
        self.v = np.sign(self.v) * (np.abs(self.v) * self.decay_v >> 12) + self.u + self.bias
        self.v = np.clip(self.v, *self.v_range)
        self.v[self.r > 0] = 0
        self.spiked = self.v > self.vth
        self.v[self.spiked] = 0
        self.r[self.spiked] = self.refractory[self.spiked]
        self.r = np.maximum(self.r - 1, 0)


class Board:
    """NxSDK's N2Board, as far as nengo-loihi uses it."""

    made = []  # every board, for tests that look at what was asked of it

    def __init__(self, board_id, n_chips, n_cores_per_chip, n_synapses_per_core):
        self.n2Chips = []
        for k, n_cores in enumerate(n_cores_per_chip):
            chip = SimpleNamespace(id=5 + k, parent=self)
            chip.n2Cores = chip.n2CoresAsList = [Core(chip, i) for i in range(n_cores)]
            self.n2Chips.append(chip)
        self.cores = {(chip.id, core.id): core for chip in self.n2Chips for core in chip.n2Cores}
        self.external, self.probes, self.energy_probes = defaultdict(list), [], []
        self.t = self.n_spikes = 0
        self.chip_snips, self.host_snip, self.thread = [], None, None
        self.started = False
        self.monitor = SimpleNamespace(probe=self._spike_probe)
        self.executor = SimpleNamespace(
            hasStarted=lambda: self.started, _host_coordinator=SimpleNamespace(hostAddr="127.0.0.1")
        )
        Board.made.append(self)

    def start(self):
        self.started = True
        for core in self.cores.values():
            core.start()

    def _spike_probe(self, state, compartments, key):
        assert key == "spike"
        probes = [SimpleNamespace(timeSeries=SimpleNamespace(data=[]), at=(state.core, c)) for c in compartments]
        self.probes += probes
        return probes

    def probe(self, parameter, condition):
        assert not self.started, "a probe has to be added before the board starts"
        probe = SimpleNamespace(condition=condition)
        self.energy_probes.append(probe)
        return probe

    def createSnip(self, *args, **kwargs):
        return SimpleNamespace()

    def createChannel(self, name, **kwargs):
        return SimpleNamespace(name=name, connect=lambda source, target: None)

    def run(self, steps, aSync=False):
        if self.host_snip is not None:
            server = socket.create_server(("127.0.0.1", self.host_snip.port))
            self.thread = threading.Thread(target=self._serve, args=(server, steps), daemon=True)
            self.thread.start()
            assert aSync
        else:
            for _ in range(steps):
                self.step()
        for probe in self.energy_probes:
            assert probe.condition.bufferSize * probe.condition.binSize >= steps
            cores = self.n_spikes / steps + (NOISE_MW.pop(0) if NOISE_MW else 0.0)
            power = IDLE_MW + cores
            split = {"total": power, "static": STATIC_MW, "dynamic": cores + X86_MW, "core": {"dynamic": cores}}
            self.energyTimeMonitor = SimpleNamespace(powerProfileStats=SimpleNamespace(power=split))
            probe.rawPowerTotal, probe.totalExecutionTime = [power - 1, power + 1], US_PER_STEP * steps
            probe.totalEnergy = power * 1e-3 * probe.totalExecutionTime
            probe.totalSpikingTime, probe.totalManagementTime = 0.75 * US_PER_STEP * steps, 0.25 * US_PER_STEP * steps

    def finishRun(self):
        if self.thread is not None:
            self.thread.join(30)

    def disconnect(self):
        self.started = False

    def step(self):
        self.t += 1
        for chip_id, core_id, axon, atom in self.external.pop(self.t - 1, ()):
            self.cores[chip_id, core_id].arriving.append((axon, atom))
        for core in self.cores.values():
            core.step()
        for core in self.cores.values():
            for c in np.flatnonzero(core.spiked):
                self.n_spikes += 1
                for chip_id, core_id, axon, atom in core.axons[c]:
                    self.cores[chip_id, core_id].arriving.append((axon, atom))
        for probe in self.probes:
            core, c = probe.at
            probe.timeSeries.data.append(int(core.spiked[c]))

    def _serve(self, server, steps):
        """The host SNIP and the SNIPs of all chips: a message in, a step, a message out."""
        link, _ = server.accept()
        with server, link, link.makefile("rb") as incoming:
            for _ in range(steps):
                first = struct.unpack("i", incoming.read(4))
                if first[0] < 0:  # asked to shut down
                    return
                others = len(self.n2Chips) - 1
                sizes = first + struct.unpack(f"{others}i", incoming.read(4 * others))
                for chip, size in zip(self.n2Chips, sizes, strict=True):
                    n_spikes, *words = struct.unpack(f"{size}i", incoming.read(4 * size))
                    for place, kind in zip(words[: 2 * n_spikes : 2], words[1 : 2 * n_spikes : 2], strict=True):
                        spike = chip.id, place >> 16, place & 0xFFFF, kind & 0xFFFF
                        self.external[self.t + 1].append(spike)
                self.step()
                link.sendall(b"".join(self._packets(snip) for snip in self.chip_snips))

    def _packets(self, snip):
        data = np.zeros(64 * snip.n_output_packets, np.int32)
        data[0] = self.t
        for offset, key, core_id, first, stride, n in snip.probes:
            assert key not in ("u", "v")
            spiked = self.cores[snip.chip_id, core_id].spiked[first + stride * np.arange(n)]
            if n == 1:
                data[offset] = spiked[0]
            else:
                bits = np.zeros(-(-n // 32) * 32, np.uint8)
                bits[:n] = spiked
                data[offset : offset + len(bits) // 32] = np.packbits(bits, bitorder="little").view(np.int32)
        return data.tobytes()


class SpikeGenerator:
    def __init__(self, board):
        self.board = board

    def addSpike(self, time, chipId, coreId, axonId, srcAtom=0, atomBits=0):
        self.board.external[int(time)].append((chipId, coreId, axonId, int(srcAtom)))

    addPop16Spike = addPop32Spike = addSpike


def install(monkeypatch, version="1.0.0"):
    """Let nengo-loihi believe that NxSDK is there."""
    from cotrain.hardware.builder.door import import_nengo_loihi

    loihi = import_nengo_loihi()
    hardware, interface, builder = (import_nengo_loihi(f"hardware{n}") for n in ("", ".interface", ".builder"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # marks of nengo-loihi's own suite
        mock = import_nengo_loihi("hardware.tests.test_interface").MockNxsdk()
    mock.__version__ = version
    for module, name, value in (
        (loihi.simulator, "HAS_NXSDK", True),
        (hardware, "HAS_NXSDK", True),
        (interface, "nxsdk", mock),
        (interface, "assert_nxsdk", lambda: None),
        (interface, "SpikeProbe", SimpleNamespace(probeDict={})),
        (interface, "SnipPhase", Register()),
        (builder, "NxsdkBoard", Board),
        (builder, "SpikeGen", SpikeGenerator),
    ):
        monkeypatch.setattr(module, name, value)
    for snips, remember in ((interface.ChipSnips, _chip), (interface.HostSnip, _host)):
        monkeypatch.setattr(snips, "create", remember(snips.create))
    enums = types.ModuleType("nxsdk.api.enums.api_enums")
    enums.ProbeParameter = SimpleNamespace(ENERGY="energy")
    probes = types.ModuleType("nxsdk.graph.monitor.probes")
    probes.PerformanceProbeCondition = SimpleNamespace
    for module in (enums, probes):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    Board.made = []
    NOISE_MW.clear()


def _chip(create):
    def created(snip, board, limit):
        create(snip, board, limit)
        board.chip_snips.append(snip)

    return created


def _host(create):
    def created(snip, board, chip_snips):
        create(snip, board, chip_snips)
        board.host_snip = snip

    return created
