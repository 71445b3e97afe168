"""What verbs print: 80 columns, colours on terminals alone, help of everything, completion."""

import contextlib
import os
import pty
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from cotrain.hardware import terminal
from cotrain.hardware.chip.limits import BOARDS
from cotrain.pipeline import experiment
from cotrain.pipeline.__main__ import VERBS, help_text, main, parser_for
from cotrain.pipeline.commands import completion

ROOT = Path(__file__).resolve().parents[1]
LONG = (
    "next: cotrain train /home/somebody/with/a/long/path/mine.toml --set 'network.dense=[64, 32]' --set train.epochs=5"
    " --data /home/somebody/data --force"
)


@pytest.mark.parametrize("verb", VERBS)
def test_help_fits_80_columns_describes_all_and_has_an_example_that_is_accepted(verb, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    parser = parser_for(verb)
    lines = parser.format_help().splitlines()
    assert max(map(len, lines)) <= 80
    assert all(action.help for action in parser._actions)
    assert "--quiet" in "\n".join(lines)
    parser.parse_args(shlex.split(VERBS[verb].example))
    assert lines[-1].strip() == f"cotrain {verb} {VERBS[verb].example}"


def test_help_lists_verbs_and_boards(monkeypatch):
    assert max(map(len, help_text().splitlines())) < 80
    text = " ".join(parser_for("check").format_help().split())
    assert ", ".join(board.name for board in BOARDS) in text


def test_make_help_explains_every_verb():
    (phony,) = [line for line in (ROOT / "Makefile").read_text().splitlines() if line.startswith(".PHONY: ")]
    environ = {key: value for key, value in os.environ.items() if not key.startswith(("MAKE", "MFLAGS"))}
    told = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, env=environ, check=True).stdout
    described = {line.split()[0] for line in told.splitlines() if line[:2] == "  " and len(line.split()) > 2}
    assert set(phony.split()[1:]) <= described
    assert max(map(len, told.splitlines())) <= 80


def test_long_lines_are_broken_between_words_and_commands_as_a_shell_takes_them_up():
    assert terminal.fitted("short") == ["short"]
    words = "  " + " ".join(f"word{i}" for i in range(40))
    lines = terminal.fitted(words)
    assert len(lines) > 2 and max(map(len, lines)) <= 79 and all(line.startswith("  ") for line in lines)
    assert " ".join(lines).split() == words.split()
    assert terminal.fitted(LONG, commands=False) == [LONG]  # for programs that read
    command = terminal.fitted(LONG)
    assert max(map(len, command)) <= 79 and len(command) > 1
    assert all(line.endswith(" \\") for line in command[:-1])
    assert shlex.split("\n".join(command).replace("\\\n", " ")) == shlex.split(LONG)
    why = "the knee lies at 24 steps and 200 Hz, which is cheaper; to fine-tune there:"
    *said, after = terminal.fitted(f"{why} cotrain finetune mine.toml --set train.epochs=5")
    assert said == [why] and after.strip() == "cotrain finetune mine.toml --set train.epochs=5"
    path = "next: cotrain inspect /" + "x" * 100
    assert terminal.fitted(path) == [path]
    path = "/" + "x" * 100
    assert terminal.fitted(f"done, {path}") == ["done,", f"  {path}"]  # stays whole, to be copied


def test_plural():
    assert [terminal.plural(n, "chip") for n in (0, 1, 2, 1024)] == ["0 chips", "1 chip", "2 chips", "1,024 chips"]
    assert terminal.plural(2, "batch", "batches") == "2 batches"


def on_a_terminal(**environ: str) -> str:
    script = (
        "from cotrain.hardware import terminal\n"
        "terminal.say('train demo: done in 3 s, runs/demo')\n"
        "terminal.complain('cotrain: wrong')\n"
    )
    ours, theirs = pty.openpty()
    base = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "TERM")}
    process = subprocess.Popen([sys.executable, "-c", script], stdout=theirs, stderr=theirs, env={**base, **environ})
    os.close(theirs)
    told = b""
    with contextlib.suppress(OSError):  # the other end is closed
        while part := os.read(ours, 1000):
            told += part
    assert process.wait() == 0
    os.close(ours)
    return told.decode().replace("\r\n", "\n")


def test_colours_only_where_a_terminal_is_and_wants_them(capsys):
    plain = "train demo: done in 3 s, runs/demo\ncotrain: wrong\n"
    coloured = on_a_terminal(TERM="xterm")
    assert coloured == "train demo: \x1b[32mdone in 3 s, runs/demo\x1b[0m\n\x1b[31mcotrain: \x1b[0mwrong\n"
    assert on_a_terminal(TERM="xterm", NO_COLOR="1") == plain
    assert on_a_terminal(TERM="dumb") == plain
    assert "\x1b[" in on_a_terminal(TERM="xterm", NO_COLOR=""), "an empty NO_COLOR forbids nothing (no-color.org)"
    terminal.say("train demo: done in 3 s, runs/demo")
    assert capsys.readouterr().out == "train demo: done in 3 s, runs/demo\n"


def test_quiet(capsys):
    assert main(["settings", "train.epochs", "--quiet"]) == 0
    assert capsys.readouterr().out == ""
    assert main(["settings", "train.epochs"]) == 0 and capsys.readouterr().out  # not for ever
    assert main(["settings", "trian", "-q"]) == 2
    assert "did you mean 'train'" in capsys.readouterr().err


def completed(script: str, line: str) -> list[str]:
    asked = f"{script}\ncompopt() {{ :; }}\nCOMP_LINE={shlex.quote(line)} COMP_POINT={len(line)}\n"
    asked += '_cotrain; printf "%s\\n" "${COMPREPLY[@]}"'
    return subprocess.run(["bash", "-c", asked], capture_output=True, text=True, check=True).stdout.split()


def test_completion_knows_verbs_options_experiments_choices_and_settings():
    script = completion.script("bash")
    assert completed(script, "cotrain ") == [*VERBS, "--help", "--version"]
    assert completed(script, "cotrain sub") == ["submission"]
    assert completed(script, "cotrain train demo-") == [n for n in experiment.names() if n.startswith("demo-")]
    assert set(completed(script, "cotrain deploy cae --")) >= {"--target", "--limit", "--workers", "--quiet"}
    assert completed(script, "cotrain deploy cae --target ") == ["emulator", "reference"]
    assert completed(script, "cotrain train cae --set train.learning") == ["train.learning_rate="]
    assert completed(script, "cotrain settings quantize.b") == ["quantize.board"]
    every = {one.name for one in experiment.all_settings()}
    assert {word.rstrip("=") for word in completed(script, "cotrain train cae --set ")} == every
    assert "bashcompinit" in completion.script("zsh")
