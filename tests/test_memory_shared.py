"""Many processes use one memory at once: nothing is lost, nothing done twice, and no one meets a lock."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

from made_up import VAE, a_task
from sqlalchemy import text

from limner.config import Strategy
from limner.memory import Memory

WRITERS = 8

MemoryAt = Callable[[str], str]


def at_once(code: str, location: str) -> list[str]:
    """What ``WRITERS`` processes say, that all begin ``code`` at the same moment; ``number`` tells them apart.

    They are forked from one that has imported what they need, for imports take far longer than what is tested.
    """
    body = textwrap.dedent(
        """
        import os, sys, traceback
        sys.path.insert(0, sys.argv[1])
        import made_up as here
        from limner.config import Strategy
        from limner.errors import LimnerError
        from limner.memory import Memory
        import alembic.runtime.environment, alembic.operations, limner.memory.lookup, platformdirs

        def work(number, location):
        {code}

        ready, go = os.pipe()
        children = []
        for number in range({writers}):
            if child := os.fork():
                children.append(child)
                continue
            os.close(go)
            os.read(ready, 1)  # ends when the parent closes its side, for all at once
            try:
                work(number, sys.argv[2])
            except BaseException:
                traceback.print_exc()
                os._exit(1)
            sys.stdout.flush()
            os._exit(0)
        os.close(go)
        sys.exit(sum(os.waitpid(child, 0)[1] != 0 for child in children))
        """
    )
    body = body.replace("{code}", textwrap.indent(textwrap.dedent(code), "    ")).replace("{writers}", str(WRITERS))
    done = subprocess.run(
        [sys.executable, "-c", body, str(Path(__file__).parent), location],
        capture_output=True, text=True, check=False, timeout=120, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_eight_processes_write_at_once(memory_at: MemoryAt) -> None:
    """All open a memory that does not exist yet, at the same moment, and each makes six runs."""
    at_once(
        """
        with Memory.open(location) as memory:
            for index in range(6):
                task = memory.add_task(here.a_task(index % 3))
                run = memory.begin_run(task, here.VAE, Strategy(), index, f"{number}-{index}")
                memory.finish_run(run, here.a_run(float(index)), here.some_scores())
        """,
        memory_at("shared"),
    )
    with Memory.open(memory_at("shared")) as memory:
        runs = memory.runs()
        assert sorted(run["name"] for run in runs) == sorted(f"{n}-{i}" for n in range(WRITERS) for i in range(6))
        assert {run["state"] for run in runs} == {"finished"}
        assert all(run["scores"]["kernel_distance"]["value"] == 0.1 for run in runs)
        assert len(memory.list("tasks")) == 3
        assert len(memory.list("models")) == 6  # equal parameters are one model
        assert memory.verify() == []


def test_a_run_whose_worker_died_is_claimed_by_one_alone(memory_at: MemoryAt) -> None:
    """Its worker was on another host, and its lease has ended: eight find it, one gets it."""
    with Memory.open(memory_at("shared")) as memory:
        run = memory.begin_run(memory.add_task(a_task()), VAE, Strategy(), 0, "orphan")
        with memory.database.writing() as session:
            dead = {"past": time.time() - 1}
            session.execute(text("UPDATE runs SET host = 'elsewhere', process = 1, lease = :past"), dead)
        memory._pulse.remove(run)
        said = at_once(
            """
            with Memory.open(location) as memory:
                assert memory.show("orphan")["state"] in ("killed", "running", "finished")
                try:
                    run = memory.resume_run("orphan")["id"]
                except LimnerError as refused:
                    assert "so there is nothing to resume" in str(refused)
                    sys.stdout.write("refused\\n")
                else:
                    memory.finish_run(run, here.a_run(float(number)), here.some_scores())
                    sys.stdout.write("claimed\\n")
            """,
            memory_at("shared"),
        )
        assert sorted(said) == ["claimed"] + ["refused"] * (WRITERS - 1)
        assert memory.show(run)["state"] == "finished"
        assert len(memory.list("models")) == 1
