"""Meta-training shared by processes: the same start as by one, and only the first of them speaks and writes."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import torch

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
