"""Commands do not wait for what they do not need."""

import os
import subprocess
import sys

import torch

from limner.networks.functional import Template

LISTED = """
import sys
from limner.cli.main import main

code = main(["memory", "list"])
assert code == 0, code
heavy = {"torch", "numpy", "scipy", "pandas", "sklearn", "matplotlib", "optuna"} & sys.modules.keys()
assert not heavy, heavy
print("done")
"""

MADE = """
import sys
from limner.learners import CATALOGUE, create

for kind in CATALOGUE:
    create(kind, (1, 32, 32))
heavy = {"sympy", "torch._dynamo", "scipy.stats", "pandas", "sklearn"} & sys.modules.keys()
assert not heavy, heavy
print("done")
"""


def run(program: str) -> None:
    done = subprocess.run([sys.executable, "-c", program], env=dict(os.environ), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("done\n")


def test_listing_needs_no_tensors():
    run(LISTED)


def test_making_a_learner_needs_no_compiler():
    run(MADE)


def test_a_template_draws_nothing():
    before = torch.get_rng_state()
    template = Template("net", lambda: torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Embedding(2, 2)))
    assert torch.equal(torch.get_rng_state(), before)
    params = template.init(seed=0)
    assert all(bool(value.abs().sum() > 0) for value in params.values())
