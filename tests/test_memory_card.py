"""Each model has a card, from the memory alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from made_up import VAE, a_run, a_task, some_scores

from limner.cli.main import main
from limner.config import Strategy
from limner.errors import LimnerError
from limner.memory import Memory
from limner.verbs.card import card


def test_a_card_tells_what_the_memory_knows(memory_at: Callable[[str], str], tmp_path: Path) -> None:
    where, task = memory_at("memory"), a_task()
    with Memory.open(where) as memory:
        run = memory.begin_run(memory.add_task(task), VAE, Strategy(steps=20), 7, "first", tmp_path / "gone")
        model = memory.finish_run(run, a_run(), some_scores())
        start = memory.put_model(a_run(2.0).params, VAE, role="start", name="a start")
    for reference in (run, "first", str(model)[:10]):
        told = card(reference, memory=where)
        assert f"- sha256: {task.support.sha256}" in told
        assert "- images: 5" in told
        assert "64 samples against 5 real images" in told
        assert "| 0.1" in told
        assert "seed 7" in told
        assert "coverage could not be measured: too few images" in told
        assert f'limner.load("{reference}")' in told
    assert "It was not scored" in card(start[:10], memory=where)
    with pytest.raises(LimnerError, match="holds no model or run called 'zz'"):
        card("zz", memory=where)


def test_the_command_writes_a_card(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "card.md"
    for code, words in ((0, "written: "), (2, "exists already")):
        command = ["memory", "card", "shipped:glyphs-vae", "--out", str(out), "--memory", str(tmp_path / "memory")]
        assert main(command) == code
        said = capsys.readouterr()
        assert words in said.out + said.err
    assert out.read_text().startswith("---\nlicense:")
