"""What the README and CONTRIBUTING tell people to type and to open exists and works."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from cotrain.pipeline import __main__ as command_line
from cotrain.pipeline import experiment
from cotrain.pipeline.stages.runner import STAGES

ROOT = Path(__file__).resolve().parents[1]
TEXTS = {name: (ROOT / name).read_text() for name in ("README.md", "CONTRIBUTING.md")}
README = TEXTS["README.md"]
COMMANDS = (ROOT / "docs" / "commands.md").read_text()  # what the README need not say


def blocks(language: str) -> list[str]:
    return [b for text in TEXTS.values() for b in re.findall(rf"^```{language}\n(.*?)^```", text, re.M | re.S)]


def commands(program: str) -> list[list[str]]:
    """Argument lists of `program` in the shell blocks and in the running text."""
    lines = [part for block in blocks("bash") for line in block.splitlines() for part in line.split("&&")]
    lines += [found for text in TEXTS.values() for found in re.findall(rf"`({program} [^`]+)`", text)]
    split = [shlex.split(line, comments=True) for line in lines]
    return [words[1:] for words in split if words and words[0] == program]


def test_two_commands_to_a_picture_and_one_for_the_tests():
    assert blocks("bash")[0].splitlines()[1:] == ["make demo"]
    assert ["test"] in commands("make")


@pytest.mark.parametrize("arguments", commands("make"), ids=" ".join)
def test_make_knows(arguments):
    result = subprocess.run(
        ["make", "--dry-run", *arguments], cwd=ROOT, capture_output=True, text=True, env=dict(os.environ, MAKEFLAGS="")
    )
    assert result.returncode == 0, result.stderr


def test_the_table_lists_every_verb_of_make():
    (phony,) = re.findall(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.M)
    described = re.findall(r"^\| `([\w-]+)` \|", COMMANDS.partition("## Experiments")[0], re.M)
    assert sorted(described) == sorted({"make", *phony.split()} - {"help"})


@pytest.mark.parametrize("arguments", commands("cotrain"), ids=" ".join)
def test_cotrain_knows(arguments):
    if arguments[0] == "VERB":
        return
    parsed = command_line.parser_for(arguments[0]).parse_args(arguments[1:])
    if parsed.verb in STAGES:
        for name in parsed.experiment:
            experiment.load(name, parsed.overrides)
    elif parsed.verb == "evaluate":
        experiment.load(parsed.experiment, parsed.overrides)


def test_every_verb_of_cotrain_is_mentioned():
    for verb in command_line.VERBS:
        assert f"`{verb}`" in COMMANDS, verb


def test_every_experiment_is_mentioned():
    for name in experiment.names():
        assert f"`{name}`" in COMMANDS, name


def test_the_readme_is_short_and_its_links_lead_somewhere():
    assert len(README.splitlines()) <= 110
    links = re.findall(r"\]\((?!https?:)([^)#]+)", README)
    assert len(links) > 12 and all((ROOT / link).is_file() for link in links)
    pages = {path.name for path in (ROOT / "docs").glob("*.md")} - {"api.md", "figures.md", "sweeps.md"}
    assert pages <= {link.removeprefix("docs/") for link in links}


def test_a_nengo_network_goes_through_the_calls_that_are_shown(tmp_path):
    """The README's with the network of docs/python.md before them, and those of that page; without a warning."""
    page = (ROOT / "docs" / "python.md").read_text()
    python = re.findall(r"^```python\n(.*?)^```", page, re.M | re.S)
    ((network, calls),) = [pair for pair in zip(python, python[1:], strict=False) if "with nengo.Network" in pair[0]]
    shown = [calls, *blocks("python")]
    assert len(shown) == 2
    for block in shown:
        result = subprocess.run([sys.executable, "-c", network + block], cwd=tmp_path, capture_output=True, text=True)
        assert result.returncode == 0 and result.stderr == "", result.stderr
        (promised,) = re.findall(r"#\s+(\(\d.*\))$", block, re.M)
        assert promised in result.stdout


@pytest.mark.parametrize("name", TEXTS)
def test_every_file_that_is_named_exists(name):
    paths = re.findall(
        r"`((?:pipeline|hardware|tests|tools|\.ci)/[^` ]*|[A-Z]+(?:\.md)?|[\w.-]+\.(?:toml|lock|md))`", TEXTS[name]
    )
    paths = [
        path
        for path in paths
        if "NAME" not in path and path not in {"EXP", "ARGS", "DATASETS", "BOARDS", "TARGETS", "STAGES"}
    ]
    assert len(paths) >= 5
    for path in paths:
        assert (ROOT / path).exists(), path


def test_ci_runs_the_readmes_test_command():
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK) and "make test" in script.read_text()
