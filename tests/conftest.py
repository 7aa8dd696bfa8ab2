"""What the tests of several modules share."""

import pytest
from memory_places import memory_at, postgres_url, private_server  # noqa: F401


@pytest.fixture(autouse=True)
def own_memory(tmp_path_factory, monkeypatch):
    """No test reads or writes the memory of whoever runs it, nor what another test remembers."""
    monkeypatch.setenv("LIMNER_MEMORY", str(tmp_path_factory.mktemp("memory")))


@pytest.fixture
def place(there, monkeypatch):
    """The module's directory of runs, to work in, with the memory that they are in."""
    monkeypatch.chdir(there)
    monkeypatch.setenv("LIMNER_MEMORY", str(there / "memory"))
    return there
