"""The command line's face: quick, helpful, and plain about mistakes in what was typed."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from limner.cli.main import app, main

VERBS = [
    "demo",
    "adapt",
    "train",
    "meta-train",
    "sample",
    "evaluate",
    "compare",
    "recommend",
    "memory",
    "data",
    "translate",
    "inspect",
    "export",
    "push",
    "augment",
]
MEMORY_VERBS = ["list", "show", "verify", "export", "import", "forget"]
COMMANDS = [[verb] for verb in VERBS if verb != "memory"] + [["memory", verb] for verb in MEMORY_VERBS]


def plain(text: str) -> str:
    return " ".join(re.sub(r"\x1b\[[0-9;]*m|[│╭╮╰╯─]", " ", text).split())


def test_help_lists_every_verb():
    told = CliRunner().invoke(app, ["--help"])
    assert told.exit_code == 0
    for verb in VERBS:
        assert re.search(rf"\b{verb}\b", plain(told.stdout))


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_has_help_with_an_example(command):
    told = CliRunner().invoke(app, [*command, "--help"])
    assert told.exit_code == 0
    assert f"Example: limner {' '.join(command)}" in plain(told.stdout)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_speaks_json(command):
    assert "--json" in plain(CliRunner().invoke(app, [*command, "--help"]).stdout)


def test_help_loads_nothing_heavy():
    code = (
        "import sys; from limner.cli.main import main; code = main(['--help']);"
        "heavy = {'torch', 'numpy', 'sklearn', 'matplotlib', 'sqlalchemy', 'scipy', 'PIL'} & set(sys.modules);"
        "print(sorted(heavy), file=sys.stderr); sys.exit(code or bool(heavy))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_version(capsys):
    assert main(["--version"]) == 0
    assert re.fullmatch(r"limner \d+\.\d+\.\d+\n", capsys.readouterr().out)


@pytest.mark.parametrize(
    "typed",
    [["adapt"], ["no-such-verb"], ["data"], ["sample", "x", "--count", "many"], ["adapt", "generate", "--shot", "3"]],
    ids=" ".join,
)
def test_a_mistyped_command_exits_with_2(typed, capsys):
    assert main(typed) == 2
    told = capsys.readouterr()
    lines = told.err.splitlines()
    assert len(lines) == 1
    assert re.fullmatch(r"limner: .*; see limner.* --help", lines[0])
    assert not told.out


@pytest.mark.parametrize("typed", [[], ["memory"]], ids=["limner", "limner memory"])
def test_a_group_alone_shows_its_help(typed, capsys):
    assert main(typed) == 2
    told = capsys.readouterr()
    assert "Commands:" in told.out
    assert not told.err


@pytest.mark.parametrize("command", [[], *COMMANDS], ids=" ".join)
def test_help_promises_no_more_than_there_is_and_names_no_types(command):
    told = CliRunner().invoke(app, [*command, "--help"]).stdout
    assert not re.search(r"<\w+>|[a-z]\.\.\.$", told, re.MULTILINE)


def test_the_help_of_data_tells_every_kind_and_every_option():
    from limner.tasks.spec import KINDS, OPTIONS

    told = CliRunner().invoke(app, ["data", "--help"]).stdout
    for word in (*KINDS, *(f"{name}=" for name in OPTIONS)):
        assert word in told


def test_start_tells_of_the_shipped_ones():
    assert "shipped:NAME" in CliRunner().invoke(app, ["adapt", "--help"]).stdout
