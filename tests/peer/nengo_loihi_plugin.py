"""pytest plugin: nengo-loihi's suite on the fast emulator.

Does what ``conftest.py`` of nengo-loihi's source tree does (the installed package lacks it), and puts
`hardware.simulator.interface.FastInterface` in the place of `EmulatorInterface` before any test module imports it. With
COTRAIN_PEER_REFERENCE=1 nengo-loihi's own emulator stays, for comparison.
"""

from __future__ import annotations

import json
import os

import matplotlib
import nengo_loihi
import nengo_loihi.emulator
import nengo_loihi.simulator
import pytest
from nengo_loihi.builder.builder import Model, ValidationLevel
from nengo_loihi.tests import make_test_sim

REFERENCE = os.environ.get("COTRAIN_PEER_REFERENCE") == "1"


def pytest_configure(config):
    matplotlib.use("Agg")
    if not REFERENCE:
        from cotrain.hardware.simulator.interface import FastInterface

        nengo_loihi.emulator.EmulatorInterface = FastInterface
        nengo_loihi.simulator.EmulatorInterface = FastInterface
    nengo_loihi.emulator.EmulatorInterface.strict = True
    nengo_loihi.set_defaults()
    Model.default_validation_level = ValidationLevel.FULL
    for marker in ("target_sim", "target_loihi", "hang", "requires_multichip_snips"):
        config.addinivalue_line("markers", f"{marker}: nengo-loihi's")
    config.stash[_OUTCOMES] = {}


_OUTCOMES = pytest.StashKey()


def pytest_addoption(parser):
    parser.addoption("--target", type=str, default="sim", help="as nengo-loihi's: 'sim' or 'loihi'")


@pytest.fixture(scope="session")
def Simulator(request):
    """The simulator that the suite tests."""
    return make_test_sim(request)


def pytest_collection_modifyitems(config, items):
    for item in items:
        if "target_loihi" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="test only runs on hardware"))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    if report.when == "call" or report.outcome != "passed":
        outcome, reason = report.outcome, ""
        if hasattr(report, "wasxfail"):
            outcome = "passed against expectation" if report.passed else "failed as expected"
            reason = f"{call.excinfo.typename}: {call.excinfo.value}" if call.excinfo else report.wasxfail
        elif report.skipped and isinstance(report.longrepr, tuple):
            reason = report.longrepr[2]
        elif report.failed and call.excinfo is not None:
            reason = f"{call.excinfo.typename}: {call.excinfo.value}"
        item.config.stash[_OUTCOMES][item.nodeid] = [outcome, reason]


def pytest_sessionfinish(session):
    path = os.environ.get("COTRAIN_PEER_JSON")
    if path:
        with open(path, "w") as file:
            json.dump(session.config.stash[_OUTCOMES], file)
