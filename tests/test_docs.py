"""The documentation: its commands are commands, its experiments load, its links lead somewhere."""

import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from cotrain.pipeline import __main__ as command_line
from cotrain.pipeline.sweeps import plan

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted((ROOT / "docs").glob("*.md"))
BLOCK = re.compile(r"```(\w+)\n(.*?)```", re.S)


def blocks(kind: str) -> list:
    return [
        pytest.param(page, text, id=f"{page.stem}-{i}")
        for page in PAGES
        for i, (language, text) in enumerate(BLOCK.findall(page.read_text()))
        if language == kind
    ]


def commands(text: str) -> list[list[str]]:
    lines = [line.strip() for part in text.splitlines() for line in part.split("&&")]
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("cotrain ")]


COMMANDS = [
    pytest.param(command, id=f"{block.id}-{command[0]}")
    for kind in ("bash", "text")
    for block in blocks(kind)
    for command in commands(block.values[1])
]


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_are_accepted(command):
    command_line.parser_for(command[0]).parse_args(command[1:])  # exits where it is not


def test_there_are_commands():
    assert len(COMMANDS) > 30 and len(PAGES) >= 15


@pytest.mark.parametrize("command", [["settings", "train"], ["settings", "finetune.n_steps"], ["settings", "data"]])
def test_quick_ones_run(command, capsys):
    assert command_line.main(command) == 0 and capsys.readouterr().out


@pytest.mark.parametrize("page, text", blocks("toml"))
def test_toml(page, text, tmp_path):
    tree = tomllib.loads(text)
    if "space" in tree:
        (tmp_path / "sweep.toml").write_text(text)
        assert plan.read(tmp_path / "sweep.toml").n_trials == tree["trials"]


@pytest.mark.parametrize("path", sorted((ROOT / "docs" / "sweeps").iterdir()), ids=lambda path: path.name)
def test_files_of_sweeps(path):
    page = (ROOT / "docs" / "sweeps.md").read_text()
    assert f"](sweeps/{path.name})" in page
    if path.suffix == ".toml":
        assert plan.read(path).n_trials >= 8
    else:
        assert subprocess.run(["bash", "-n", str(path)]).returncode == 0
    if path.name == "rates.toml":
        assert path.read_text() in page


@pytest.mark.parametrize("page, text", blocks("json"))
def test_counts(page, text, tmp_path, capsys):
    (tmp_path / "counts.json").write_text(text)
    assert command_line.main(["estimate", str(tmp_path / "counts.json")]) == 0
    assert "leakage" in capsys.readouterr().out


@pytest.mark.parametrize("page, text", blocks("python"))
def test_python_compiles(page, text):
    compile(text, str(page), "exec")


def test_it_builds_with_every_link_leading_somewhere(tmp_path):
    source = tmp_path / "source" / "cotrain"
    source.mkdir(parents=True)
    for name in ("hardware", "pipeline"):
        (source / name).symlink_to(ROOT / name)

    wanted = {Path(name).stem for page in PAGES for name in re.findall(r"\]\((pictures/\S+)\)", page.read_text())}
    functions = set(re.findall(r"^def (\w+)\(\) -> None", (ROOT / "docs" / "pictures.py").read_text(), re.M))
    assert wanted <= functions  # each picture has the function that draws it
    copy = tmp_path / "docs"
    copy.mkdir()
    for page in PAGES:
        (copy / page.name).write_text(page.read_text())
    shutil.copytree(ROOT / "docs" / "sweeps", copy / "sweeps")
    for notebook in (ROOT / "docs").glob("*.ipynb"):
        (copy / notebook.name).write_text(notebook.read_text())
    (copy / "pictures").mkdir()
    for name in wanted:
        (copy / "pictures" / f"{name}.svg").write_text("<svg/>")
    config = (ROOT / "mkdocs.yml").read_text().replace("docs_dir: docs", f"docs_dir: {copy}")
    config = config.replace("site_dir: build/docs", f"site_dir: {tmp_path / 'site'}")
    config = config.replace("build/docs-source", str(tmp_path / "source"))
    (tmp_path / "mkdocs.yml").write_text(config)
    result = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--quiet", "-f", str(tmp_path / "mkdocs.yml")],
        capture_output=True, text=True,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    api = (tmp_path / "site" / "api.html").read_text()
    assert "last_steps" in api and "Keep only this many steps" in api  # docstrings have come in
