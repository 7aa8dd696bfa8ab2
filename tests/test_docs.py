"""What the documentation shows works: every command parses, every Python block runs or at least compiles."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image
from skimage import data

from limner.cli.main import app

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(page: Path, language: str) -> list[str]:
    return [text for kind, text in BLOCK.findall(page.read_text()) if kind == language]


def commands_shown() -> list[str]:
    found = [command.epilog or "" for _, command in all_commands()]
    found = [part.strip() for text in found for part in re.findall(r"limner [^.]*(?:\.[^ .][^.]*)*", text)]
    for page in PAGES:
        for text in blocks(page, "console"):
            found += [line for line in text.splitlines() if line.startswith("limner ")]
        inline = re.findall(r"`(limner [^`]+)`", BLOCK.sub("", page.read_text()))
        found += [
            text for text in inline if not re.search(r"[…|\\]|\b[A-Z]{3,}\b|--help", text) and len(text.split()) > 2
        ]
    return sorted({line.split("  #")[0].strip() for line in found})


def all_commands():
    def walk(name, command):
        for part, child in getattr(command, "commands", {}).items():
            yield from walk(f"{name} {part}", child)
        yield name, command

    yield from walk("limner", typer.main.get_command(app))


def parse(line: str) -> None:
    """Parse the command line without running it; raises what typer raises for a mistake."""
    command = typer.main.get_command(app)
    words = shlex.split(line)[1:]
    while words and words[0] in getattr(command, "commands", {}):
        command = command.commands[words.pop(0)]
    if hasattr(command, "commands") and words and not words[0].startswith("-"):
        raise typer.BadParameter(f"No such command {words[0]!r}")
    command.make_context("limner", words)


def test_commands_are_found():
    shown = commands_shown()
    assert len(shown) > 15
    assert any(line.startswith("limner adapt generate folder:") for line in shown)


@pytest.mark.parametrize("line", commands_shown())
def test_every_command_shown_parses(line):
    parse(line)


def test_a_wrong_command_would_be_noticed():
    for line in ("limner adapt generate x --shoots 10", "limner paint x", "limner data"):
        with pytest.raises(Exception) as told:  # noqa: PT011
            parse(line)
        assert re.search("No such|Missing|unexpected", told.value.format_message())


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=lambda page: page.name)
def test_python_blocks_compile(page):
    for text in blocks(page, "python"):
        compile(text, page.name, "exec")


def test_the_python_of_the_readme_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("LIMNER_MEMORY", str(tmp_path / "memory"))
    (text,) = blocks(ROOT / "README.md", "python")
    noisy = data.camera()[:64, 180:244] + np.random.default_rng(0).normal(0, 20, (64, 64))
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save("damaged.png")
    names: dict[str, object] = {}
    exec(compile(text, "README.md", "exec"), names)
    assert names["images"].shape == (16, 1, 28, 28)  # type: ignore[attr-defined]
    assert (tmp_path / "runs" / "threes" / "report.html").exists()
    assert (tmp_path / "runs" / "mended" / "damaged.png").exists()
    assert "Noise with a standard deviation of" in names["mended"].record["images"][0]["sentences"][0]  # type: ignore[attr-defined]
    assert names["clean"].shape == (16, 1, 28, 28)  # type: ignore[attr-defined]
    assert "Score(value=" in capsys.readouterr().out


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_pictures_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        if not target.startswith(("http:", "https:")):
            assert (page.parent / target).exists(), f"{page.name} points to {target}, which is not there"


def test_make_targets_that_the_readme_names_exist():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    shown = "\n".join(
        [*blocks(ROOT / "README.md", "console"), *re.findall(r"`(make [^`]+)`", (ROOT / "README.md").read_text())]
    )
    named = set(re.findall(r"\bmake ([a-z]+)", shown))
    assert {"demo", "test", "setup", "bench"} <= named <= targets


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_a_page_names_are_there(page):
    for path in re.findall(r"`((?:src|tests|docs|benchmarks|tools)/[\w./-]+)`", page.read_text()):
        if "mine" not in path and "NAME" not in path:
            assert (ROOT / path).exists(), f"{page.name} names {path}, which is not there"
