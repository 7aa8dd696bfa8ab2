"""Several processes use one memory at once; a run whose process died is noticed, told, and can be taken up."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from made_up import VAE, a_run, a_task, some_scores
from sqlalchemy import text

from limner.config import Strategy
from limner.errors import LimnerError
from limner.memory import Memory
from limner.memory.processes import started

MemoryAt = Callable[[str], str]


def in_process(code: str, *arguments: str) -> subprocess.Popen[str]:
    body = "import sys\nsys.path.insert(0, sys.argv[1])\nimport made_up as here\n"
    body += "from limner.config import Strategy\nfrom limner.memory import Memory\n"
    command = [sys.executable, "-c", body + textwrap.dedent(code), str(Path(__file__).parent), *arguments]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


@contextmanager
def begun_elsewhere(location: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A run that goes on in a process of its own: the process and the run's id."""
    process = in_process(
        """
        import time
        from pathlib import Path
        memory = Memory.open(sys.argv[2])
        task = memory.add_task(here.a_task())
        run = memory.begin_run(task, here.VAE, Strategy(), 0, "doomed", Path("my runs/there"))
        print(run, flush=True)
        time.sleep(600)
        """,
        location,
    )
    assert process.stdout is not None
    try:
        yield process, process.stdout.readline().strip()
    finally:
        process.kill()
        process.communicate()


def test_a_killed_run_is_noticed_and_resumed(memory_at: MemoryAt) -> None:
    with begun_elsewhere(memory_at("memory")) as (doomed, run):
        with Memory.open(memory_at("memory")) as memory:
            assert memory.show(run)["state"] == "running"  # its process lives
            with pytest.raises(LimnerError, match="is running"):
                memory.resume_run(run)
        os.kill(doomed.pid, signal.SIGKILL)
        while started(doomed.pid) is not None:
            time.sleep(0.01)
        with Memory.open(memory_at("memory")) as memory:  # dead, though nobody has waited for it yet
            (listed,) = memory.list("runs")
            assert (listed["id"], listed["state"]) == (run, "killed")
            assert listed["finished"] is not None
            there = Path("my runs/there").absolute()
            assert listed["reason"] == (
                f"its process ended without a word; go on with: limner adapt generate --resume '{there}'"
            )
            assert memory.resume_run("doomed")["directory"] == str(there)
            memory.finish_run(run, a_run(), some_scores())
            assert memory.show(run)["state"] == "finished"


def test_a_killed_run_without_a_directory_says_so(memory_at: MemoryAt) -> None:
    with Memory.open(memory_at("memory")) as memory:
        run = memory.begin_run(memory.add_task(a_task()), VAE, Strategy(), 0)
        alter(memory, "UPDATE runs SET process_started = 'another time'")
    with Memory.open(memory_at("memory")) as memory:
        assert memory.show(run)["reason"].endswith("it kept no directory to go on from, so begin it anew")


def test_a_living_process_with_the_number_of_a_dead_one_is_not_taken_for_it(memory_at: MemoryAt) -> None:
    """The number is used again: after a while, or after a restart of the machine, when numbers begin anew."""
    with begun_elsewhere(memory_at("memory")) as (living, run):
        with Memory.open(memory_at("memory")) as memory, memory.database.reading() as session:
            begun = session.execute(text("SELECT process_started FROM runs")).scalar_one()
        assert begun == started(living.pid)
        same_number_later = started(os.getpid())
        assert same_number_later is not None
        boot, _, ticks = begun.rpartition(" ")
        after_restart = f"{'0' * len(boot)} {ticks}".strip()
        for told in (same_number_later, after_restart):
            with Memory.open(memory_at("memory")) as memory:
                assert memory.show(run)["state"] == "running"
                alter(memory, "UPDATE runs SET process_started = :told", told=told)
            with Memory.open(memory_at("memory")) as memory:
                assert memory.show(run)["state"] == "killed"
                alter(
                    memory,
                    "UPDATE runs SET state = 'running', process = :pid, process_started = :begun, lease = :later",
                    pid=living.pid, begun=begun, later=time.time() + 300,
                )  # fmt: skip


def alter(memory: Memory, statement: str, **values: Any) -> None:
    with memory.database.writing() as session:
        session.execute(text(statement), values)


def test_a_run_on_another_host_is_believed_until_its_lease_ends(memory_at: MemoryAt) -> None:
    with Memory.open(memory_at("memory")) as memory:
        run = memory.begin_run(memory.add_task(a_task()), VAE, Strategy(), 0)
        alter(memory, "UPDATE runs SET host = 'elsewhere', process = 1")
    with Memory.open(memory_at("memory")) as memory:
        assert memory.show(run)["state"] == "running"
        alter(memory, "UPDATE runs SET lease = :past", past=time.time() - 1)
        memory.renew([run])
    with Memory.open(memory_at("memory")) as memory:
        assert memory.show(run)["state"] == "running"
        alter(memory, "UPDATE runs SET lease = :past", past=time.time() - 1)
    with Memory.open(memory_at("memory")) as memory:
        assert memory.show(run)["state"] == "killed"


def test_the_start_of_a_process_is_told_apart() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    begun = started(child.pid)
    assert begun is not None
    assert begun != started(os.getpid())
    child.kill()
    child.wait()
    assert started(child.pid) is None


def test_a_run_gives_signs_of_life_by_itself(memory_at: MemoryAt, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("limner.memory.liveness.LEASE", 0.5)
    with Memory.open(memory_at("memory")) as memory:
        run = memory.begin_run(memory.add_task(a_task()), VAE, Strategy(), 0)

        def lease() -> float:
            with memory.database.reading() as session:
                return float(session.execute(text("SELECT lease FROM runs")).scalar_one())

        first = lease()
        deadline = time.time() + 10
        while lease() <= first and time.time() < deadline:
            time.sleep(0.05)
        assert lease() > first
        memory.finish_run(run, a_run(), None)
        assert memory.show(run)["state"] == "finished"
