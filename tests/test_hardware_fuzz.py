"""Random networks of everything that Nengo lets one write: our errors or right numbers (long: ``make fuzz``)."""

from __future__ import annotations

import pytest
from fuzz.networks import examine_all


@pytest.mark.parametrize("first", range(0, 12, 6))
def test_random_networks_are_run_or_refused(first):
    counts, bad = examine_all(range(first, first + 6))
    assert bad == {} and sum(counts.values()) == 6


def test_the_networks_are_not_all_alike():
    counts, _ = examine_all(range(24, 34))
    assert counts["ran"] >= 2 and counts["refused"] >= 2
