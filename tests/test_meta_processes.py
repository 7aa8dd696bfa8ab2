"""Meta-training shared by processes: the same start as by one, and only the first of them speaks and writes."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import torch
from torch.distributed import TCPStore

from limner.cli import trouble
from limner.cli.main import main
from limner.memory import Memory
from limner.model_file import decode

WORDS = [
    "meta-train", "maml", "vae", "--family", "digits,size=16,limit=20", "--shots", "3", "--queries", "3", "--budget",
    "3steps", "--option", "width=4", "--option", "latents=2", "--json", "--set", "tasks=3", "--set", "inner_steps=2",
    "--set", "execution=loop", "--set", "validate_tasks=2", "--set", "device=cpu",
    "--set", "optimiser=sgd", "--set", "rate=0.01", "--set", "inner_optimiser=sgd",
]  # fmt: skip

"""Gradient descent inside and outside: Adam would make whole steps of rounding where a gradient is 0."""


def run(place, before, out):
    environment = {**os.environ, "LIMNER_MEMORY": str(place / "memory"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", *before, "limner", *WORDS, "--out", out, "--name", out]
    made = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, timeout=300)
    assert made.returncode == 0, made.stderr
    return made.stdout


def test_two_processes_learn_the_start_that_one_learns(tmp_path):
    alone = json.loads(run(tmp_path, [], "alone"))
    shared = ["torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m"]
    both = json.loads(run(tmp_path, shared, "both"))
    one, two = (decode((tmp_path / name / "start.safetensors").read_bytes()) for name in ("alone", "both"))
    assert one.params.keys() == two.params.keys()
    for name, value in one.params.items():
        assert torch.allclose(value, two.params[name], rtol=1e-4, atol=1e-6), name
    assert both["cost"]["steps"] == alone["cost"]["steps"] == 3
    assert both["directory"] == "both"
    with Memory.open(tmp_path / "memory") as memory:
        assert [row["name"] for row in memory.list("starts")] == ["both", "alone"]
    assert not (tmp_path / "both" / "checkpoint.safetensors").exists()


def test_a_mistake_of_all_processes_is_told_once(capsys, monkeypatch):
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    started = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port)}
    for name, value in (started | {"TORCHELASTIC_USE_AGENT_STORE": "True"}).items():
        monkeypatch.setenv(name, value)
    mistake = ["meta-train", "maml", "tree", "--family", "glyphs"]
    assert not trouble.told_by_another()
    assert [main(mistake), main(mistake)] == [2, 2]
    assert capsys.readouterr().err.count("there is no learner 'tree'") == 1
    assert trouble.told_by_another()

    def cut_off(**_):
        raise RuntimeError("Connection closed by peer")

    monkeypatch.setattr("limner.cli.main.app", cut_off)  # what the others meet once one has left
    assert main(mistake) == 2
    assert capsys.readouterr().err == ""
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    with pytest.raises(RuntimeError, match="closed by peer"):
        main(mistake)
