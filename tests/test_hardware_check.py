"""``cotrain check``: what it prints, writes and refuses."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from cotrain import hardware
from cotrain.hardware.errors import CotrainError, InputError, MissingError, OutputError
from cotrain.hardware.preflight.command import load_network, main
from cotrain.hardware.preflight.report import RESOURCES

NETWORKS = """
import nengo
import numpy as np

def fits():
    with nengo.Network(seed=0) as net:
        a = nengo.Ensemble(1500, 1, label="a", gain=np.ones(1500), bias=np.zeros(1500))
        b = nengo.Ensemble(20, 1, label="b", gain=np.ones(20), bias=np.zeros(20))
        nengo.Connection(a.neurons, b.neurons, transform=np.ones((20, 1500)))
    return net

def too_many_inputs():
    with nengo.Network(seed=0) as net:
        a = nengo.Ensemble(4097, 1, label="a", gain=np.ones(4097), bias=np.zeros(4097))
        b = nengo.Ensemble(20, 1, label="b", gain=np.ones(20), bias=np.zeros(20))
        nengo.Connection(a.neurons, b.neurons, transform=np.ones((20, 4097)))
    return net

def unbuildable():
    with nengo.Network() as net:
        nengo.Ensemble(5, 1, neuron_type=nengo.Izhikevich())
    return net

def number():
    return 3

def fails():
    raise RuntimeError("out of\\n  paper")

def wants(argument):
    return argument

constant = 3
"""


@pytest.fixture
def networks(tmp_path):
    path = tmp_path / "networks.py"
    path.write_text(NETWORKS)
    return path


def test_a_network_that_fits(networks, tmp_path, capsys):
    out = tmp_path / "report.json"
    assert main(f"{networks}:fits", "kapoho_bay", str(out)) == 0
    report = json.loads(out.read_text())
    assert {"cores", "chips", "lower_bound_cores", "utilisation", "violations", "findings"} <= set(report)
    assert (report["cores"], report["chips"], report["lower_bound_cores"]) == (3, 1, 3)
    assert report["violations"] == []
    assert [layer["name"] for layer in report["utilisation"]["layers"]] == ["a", "b"]
    assert all(set(layer["most"]) == set(RESOURCES) for layer in report["utilisation"]["layers"])
    assert len(report["utilisation"]["cores"]) == 3
    printed = capsys.readouterr().out
    assert "violations: none" in printed and "3 cores on 1 chip of kapoho_bay" in printed


def test_a_network_that_does_not_fit_is_reported_all_the_same(networks, tmp_path, capsys):
    out = tmp_path / "report.json"
    assert main(f"{networks}:too_many_inputs", "nahuku32", str(out)) == 1
    report = json.loads(out.read_text())
    assert {v["rule"] for v in report["violations"]} == {"input_axons"}
    violation = report["violations"][0]
    assert (violation["layer"], violation["used"], violation["allowed"]) == ("b", 4097, 4096)
    assert report["findings"][0]["rule"] == "not_placed"
    assert "layer 'b', core 5: input axons 4,097 of 4,096" in capsys.readouterr().out


def test_a_network_that_nengo_loihi_cannot_build(networks, capsys):
    assert main(f"{networks}:unbuildable") == 1
    assert "Izhikevich" in capsys.readouterr().out


def test_report_comes_back_from_json_as_it_was():
    import nengo

    with nengo.Network(seed=0) as net:
        nengo.Ensemble(10, 1, label="a")
    report = hardware.check(net)
    assert json.loads(json.dumps(report.to_json())) == report.to_json()


UNUSABLE = {
    "missing.py:make": (MissingError, "missing.py: no such file"),
    "networks.py": (InputError, "does not name a network: write FILE.py:FUNCTION"),
    "networks.py:not a name": (InputError, "write FILE.py:FUNCTION"),
    "networks.py:absent": (InputError, "no function 'absent'; it has fails, fits, number, too_many_inputs"),
    "networks.py:constant": (InputError, "no function 'constant'"),
    "networks.py:number": (InputError, r"number\(\) returned int: expected a nengo.Network"),
    "networks.py:fails": (InputError, r"fails\(\) failed: RuntimeError: out of paper"),
    "networks.py:wants": (InputError, r"wants\(\) failed: TypeError: .*missing 1 required"),
    "broken.py:make": (InputError, "importing it failed: SyntaxError"),
    "leaves.py:make": (InputError, "importing it failed: SystemExit: 3"),
    "needy.py:make": (InputError, "importing it failed: ModuleNotFoundError: No module named 'no_such_module'"),
    "empty.py:make": (InputError, "it defines no functions"),
    "notes.txt:make": (InputError, "not a Python file"),
}


@pytest.mark.parametrize("target", UNUSABLE)
def test_each_unusable_target_is_one_line(target, networks):
    for name, text in {
        "broken.py": "def make(:",
        "leaves.py": "raise SystemExit(3)",
        "needy.py": "import no_such_module",
        "empty.py": "",
        "notes.txt": "",
    }.items():
        (networks.parent / name).write_text(text)
    error, message = UNUSABLE[target]
    before = list(sys.path)
    with pytest.raises(error, match=message) as raised:
        load_network(str(networks.parent / target))
    assert "\n" not in str(raised.value)
    assert isinstance(raised.value, CotrainError)
    assert sys.path == before


def test_a_file_finds_what_lies_next_to_it(networks):
    (networks.parent / "other.py").write_text("from networks import fits as make")
    assert load_network(f"{networks.parent / 'other.py'}:make").all_ensembles[0].label == "a"
    sys.modules.pop("networks")


def test_unknown_board_and_unwritable_json(networks, tmp_path):
    with pytest.raises(InputError, match="board 'nahuku' is not known"):
        main(f"{networks}:fits", "nahuku")
    with pytest.raises(OutputError, match="cannot write .*absent does not exist; choose another --json FILE"):
        main(f"{networks}:fits", json_path=str(tmp_path / "absent" / "report.json"))
    assert {p.name for p in tmp_path.iterdir()} - {"__pycache__"} == {"networks.py"}


def test_from_the_command_line(networks):
    done = subprocess.run(
        [sys.executable, "-m", "cotrain.pipeline", "check", f"{networks}:absent"], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stdout == "" and done.stderr.count("\n") == 1 and "no function 'absent'" in done.stderr
