"""What the tests of several modules share."""

import pytest


@pytest.fixture
def place(there, monkeypatch):
    """The module's directory of runs, to work in, with the memory that they are in."""
    monkeypatch.chdir(there)
    monkeypatch.setenv("LIMNER_MEMORY", str(there / "memory"))
    return there
