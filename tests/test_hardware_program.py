"""Programs: integers only, immutable, a file that cannot be misread."""

from __future__ import annotations

import warnings

import nengo
import numpy as np
import pytest
from cotrain.hardware.builder.door import import_nengo_loihi
from cotrain.hardware.compiler.compile import compile_network, program_from_model
from cotrain.hardware.compiler.program import ARRAYS, Program
from cotrain.hardware.errors import CorruptError, InputError, MisfitError, MissingError, UnsupportedError
from emulator_networks import nengo_loihi, random_network


def quiet_compile(net):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return compile_network(net)


@pytest.fixture(scope="module")
def program():
    return quiet_compile(random_network(0))


def test_arrays_are_integers_and_read_only(program):
    for name in ARRAYS:
        array = getattr(program, name)
        assert array.dtype.kind in "ib"
        with pytest.raises(ValueError, match="read-only"):
            array[:1] = 0
    with pytest.raises(AttributeError):
        program.weights = None


@pytest.mark.parametrize("seed", range(4))
def test_file_round_trip(tmp_path, seed):
    program = quiet_compile(random_network(seed))
    path = tmp_path / "program.npz"
    program.save(path)
    again = Program.load(path)
    assert again.digest == program.digest
    assert (again.layers, again.blocks, again.inputs) == (program.layers, program.blocks, program.inputs)
    for name in ARRAYS:
        assert np.array_equal(getattr(again, name), getattr(program, name))
    for a, b in zip(again.probes, program.probes, strict=False):
        assert a.key == b.key
        assert all(np.array_equal(x, y) for x, y in zip(a.compartments, b.compartments, strict=False))
        assert [w is None for w in a.weights] == [w is None for w in b.weights]
    assert [p.name for p in tmp_path.iterdir()] == ["program.npz"]


def test_compiling_twice_gives_the_same_digest():
    assert quiet_compile(random_network(1)).digest == quiet_compile(random_network(1)).digest


def test_arrays_are_what_nengo_loihi_built():
    """Compartments and weights read back from its objects, axon by axon."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = import_nengo_loihi("builder").Model(dt=0.001)
        model.build(random_network(0))
    program = program_from_model(model)
    synapse_number = 0
    for b, block in enumerate(model.blocks):
        mine = slice(program.block_start[b], program.block_start[b + 1])
        assert np.array_equal(program.bias[mine], block.compartment.bias)
        assert np.array_equal(program.vth[mine], block.compartment.vth)
        for synapse in block.synapses:
            assert program.synapse_block[synapse_number] == b
            first = program.synapse_axon_start[synapse_number]
            for axon in range(synapse.n_axons):
                base = synapse.axon_compartment_base(axon)
                assert program.axon_base[first + axon] == (-1 if base is None else base)
                entry = program.axon_entry[first + axon]
                table = program.weights[program.entry_start[entry] : program.entry_start[entry + 1]]
                table = table.reshape(program.entry_atoms[entry], -1)
                for atom in range(len(table)):
                    weights, _ = synapse.axon_weights_indices(axon, atom=atom)
                    assert np.array_equal(table[atom], weights)
            synapse_number += 1
    assert synapse_number == len(program.synapse_block)


def test_layers_carry_the_labels_of_ensembles(program):
    with nengo.Network(seed=0) as net:
        a = nengo.Ensemble(20, 1, label="alpha")
        b = nengo.Ensemble(1500, 1, label="beta")  # cut into two blocks
        nengo.Connection(a.neurons, b.neurons, transform=np.ones((1500, 20)) * 0.01)
    program = quiet_compile(net)
    assert program.layers == ("alpha", "beta")
    assert list(program.block_layer) == [0, 1, 1]


def test_a_changed_byte_is_noticed(tmp_path, program):
    path = tmp_path / "program.npz"
    program.save(path)
    with np.load(path) as file:
        data = {name: file[name] for name in file.files}
    data["bias"] = data["bias"].copy()
    data["bias"][0] += 1
    np.savez(path, **data)
    with pytest.raises(CorruptError, match="was changed"):
        Program.load(path)


@pytest.mark.parametrize("edit", ["truncate", "newer", "missing array", "text", "float"])
def test_bad_files_are_refused(tmp_path, program, edit):
    path = tmp_path / "program.npz"
    program.save(path)
    with np.load(path) as file:
        data = {name: file[name] for name in file.files}
    if edit == "truncate":
        path.write_bytes(path.read_bytes()[:-200])
    elif edit == "text":
        path.write_text("not a program")
    else:
        if edit == "newer":
            data["meta"] = np.frombuffer(data["meta"].tobytes().replace(b'"schema": 1', b'"schema": 9'), np.uint8)
        elif edit == "missing array":
            del data["vth"]
        else:
            data["weights"] = data["weights"] + 0.5
        np.savez(path, **data)
    with pytest.raises(CorruptError, match="make it again"):
        Program.load(path)


def test_missing_file(tmp_path):
    with pytest.raises(MissingError, match="does not exist; compile the network"):
        Program.load(tmp_path / "nothing.npz")


def test_saving_never_leaves_half_a_file(tmp_path, program, monkeypatch):
    path = tmp_path / "program.npz"
    path.write_bytes(b"before")

    def fail(*args):
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match="disk full"):
        program.save(path)
    assert path.read_bytes() == b"before"
    assert len(list(tmp_path.iterdir())) == 1


def test_learning_is_refused_by_name():
    with nengo.Network(seed=0) as net:
        pre = nengo.Ensemble(20, 1, label="pre")
        error, post = nengo.Node(size_in=1), nengo.Node(size_in=1)
        conn = nengo.Connection(pre, post, learning_rule_type=nengo.PES(), label="adapting")
        nengo.Connection(post, error)
        nengo.Connection(error, conn.learning_rule)
    with pytest.raises(UnsupportedError, match=r"learning \(PES\).*target='reference'"):
        quiet_compile(net)


def test_networks_without_a_chip_are_refused():
    with nengo.Network() as net:
        nengo_loihi.add_params(net)
        ens = nengo.Ensemble(5, 1)
        net.config[ens].on_chip = False
    with pytest.raises(InputError, match="No neurons marked for execution on-chip"):
        quiet_compile(net)


def test_blocks_larger_than_a_core_are_a_misfit():
    with nengo.Network(seed=0) as net:
        nengo_loihi.add_params(net)
        ens = nengo.Ensemble(1200, 1)
        net.config[ens].block_shape = nengo_loihi.BlockShape((1200,), (1200,))
    with pytest.raises(MisfitError, match="exceeded max.*hardware.partition"):
        quiet_compile(net)
