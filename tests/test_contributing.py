"""CONTRIBUTING.md: every recipe names files, tables and tests that exist, and takes three files at most."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "CONTRIBUTING.md").read_text()
ROWS = {cells[0]: cells[1:] for cells in (
    [cell.strip() for cell in line.strip("|").split("|")] for line in TEXT.splitlines() if line.startswith("| a")
)}  # fmt: skip
ASKED_FOR = ("a neuron", "a loss", "a trainer", "a task", "a data source", "a chip", "a section of the report")


def files_of(cell: str) -> list[str]:
    """Paths that a cell names; a name without a folder belongs to none."""
    return re.findall(r"`([\w./-]+(?:/|\.py|\.md|\.toml|\.yml|\.sh))`", cell)


def test_the_recipes_are_there():
    assert set(ASKED_FOR) <= set(ROWS) and len(ROWS) > 20


def test_recipes_take_three_files_at_most():
    most = {what: len(files_of(cells[0])) for what, cells in ROWS.items()}
    assert {what: n for what, n in most.items() if n > 3} == {}


def test_what_recipes_name_exists():
    for what, (touch, tell) in ROWS.items():
        for name in files_of(touch):
            path = ROOT / name.replace("NAME.py", "").replace("NAME.md", "")
            assert path.exists(), f"{what}: {name}"
        assert files_of(tell), f"{what} has no test"
        for name in files_of(tell):
            assert (ROOT / name).exists(), f"{what}: {name}"


def test_tables_that_recipes_name_stand_in_their_files():
    """Names in capitals before the file that they stand in: "a row of TASKS in `pipeline/tasks/__init__.py`"."""
    found = 0
    for what, (touch, _) in ROWS.items():
        for names, name in re.findall(r"((?:[A-Z]{4,}(?: or | and )?)+)(?: in| of) `([\w./-]+\.py)`", touch):
            text = (ROOT / name).read_text()
            for table in re.findall("[A-Z]{4,}", names):
                assert re.search(rf"^{table}\b.*=", text, re.M), f"{what}: {table} of {name}"
                found += 1
    assert found > 8
