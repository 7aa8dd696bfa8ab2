"""Commands that only look into the memory do not wait for what trains networks."""

import os
import subprocess
import sys

LISTED = """
import sys
from limner.cli.main import main

code = main(["memory", "list"])
assert code == 0, code
heavy = {"torch", "numpy", "scipy", "pandas", "sklearn", "matplotlib", "optuna"} & sys.modules.keys()
assert not heavy, heavy
"""


def test_listing_needs_no_tensors():
    done = subprocess.run([sys.executable, "-c", LISTED], env=dict(os.environ), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "holds no runs yet" in done.stdout
