"""Workers of a Ray cluster: one of this machine alone, started for the work, or one of many machines at an address."""

from __future__ import annotations

import os
import re
import socket
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

from limner.errors import LimnerError
from limner.verbs.crew import RAY, Done, Share

INSTALL = "pip install 'limner[ray]'"

PATIENCE = 5.0
"""Seconds to wait for someone to answer at the address of a cluster."""

FAREWELL = 60.0
"""Seconds that workers have to end their runs when they are stopped by hand."""

STORE = 100 * 2**20
"""Bytes of Ray's shared memory where it is started here: what workers send is small."""

QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_COLOR_PREFIX": "0",
    "RAY_agent_register_timeout_ms": "100000",
}
"""Ray reports its usage to no one, what workers say is told as it is, and a busy machine may take its time."""


def check(on: str, memory: str | None) -> None:
    """Raises :class:`LimnerError` where ``on`` is no Ray, there is none, or a far one could not reach the memory."""
    host = None if on == RAY else _address(on)[0]
    if find_spec("ray") is None:
        raise LimnerError(f"to run on Ray it must be installed; install it with: {INSTALL}")
    if host is not None and not _is_here(host):
        _check_shared(memory, host)


def _ray() -> Any:
    """Ray itself, whose own types say little."""
    return import_module("ray")


def _address(on: str) -> tuple[str, int]:
    """Host and port of ``ray://HOST:PORT``."""
    found = re.fullmatch(r"ray://(\[[0-9a-fA-F:]+\]|[^:/\[\]\s]+):(\d{1,5})", on)
    if found is None or not 0 < int(found[2]) < 2**16:
        raise LimnerError(f"work cannot run on {on!r}; right would be ray, or ray://HOST:PORT of a cluster")
    return found[1].strip("[]"), int(found[2])


def _is_here(host: str) -> bool:
    """Whether the host is this machine: one can listen at an address of one's own alone."""
    try:
        found = socket.getaddrinfo(host, 0, type=socket.SOCK_DGRAM)
    except OSError:
        return False
    for family, kind, protocol, _, address in found:
        with socket.socket(family, kind, protocol) as asking, suppress(OSError):
            asking.bind(address)
            return True
    return False


def _check_shared(memory: str | None, host: str) -> None:
    """Raises :class:`LimnerError` where workers at ``host`` would not all reach the memory and its models."""
    from platformdirs import user_data_path

    from limner.memory.database import locate

    location = locate(memory)
    if location.schema is None:
        raise LimnerError(
            f"the memory {location.label} lies on this machine, where workers at {host} cannot reach it; give one in "
            "PostgreSQL that all of them reach: --memory postgresql://…"
        )
    if location.artifacts == user_data_path("limner") / "artifacts":
        raise LimnerError(
            f"the models of the memory {location.label} would lie on each machine apart; add ?artifacts=PLACE to it, a "
            f"place that this machine and the workers at {host} reach, such as s3://bucket/weights"
        )


@contextmanager
def cluster(on: str, workers: int | None, memory: str | None, aloud: bool) -> Iterator[Cluster]:
    """The workers ``on`` a Ray, until the work is done: ``ray`` starts one here, ``ray://HOST:PORT`` is one that runs.

    Raises :class:`LimnerError` where it cannot be started, does not answer, or has machines that cannot reach the
    memory.
    """
    os.environ.update(QUIET)
    ray = _ray()
    quiet: dict[str, Any] = {"logging_level": "ERROR", "log_to_driver": aloud}
    with tempfile.TemporaryDirectory(prefix="limner-ray-", ignore_cleanup_errors=True) as folder:
        if on == RAY:
            workers = workers or os.cpu_count() or 1
            asked = {"num_cpus": workers, "include_dashboard": False, "object_store_memory": STORE, "_temp_dir": folder}
            address, whose = "local", "Ray could not be started here"
        else:
            _answers(on)
            asked, address, whose = {}, on, f"Ray at {on} cannot be used"
        try:
            try:
                with warnings.catch_warnings(action="ignore"):  # what they say, the error says
                    ray.init(address, **asked, **quiet)
            except Exception as problem:  # Ray raises what it may, a bare Exception among others
                raise LimnerError(f"{whose} ({_told(problem)}); {_remedy(problem, on)}") from problem
            machines = {node["NodeManagerHostname"] for node in ray.nodes() if node["Alive"]}
            if others := machines - {socket.gethostname()}:
                _check_shared(memory, min(others))
            room = int(ray.cluster_resources().get("CPU", 0))
            yield Cluster(workers or max(1, room), room)
        finally:
            ray.shutdown()


def _answers(on: str) -> None:
    """Raises :class:`LimnerError` where no one answers at the address, which Ray itself takes long to find out."""
    host, port = _address(on)
    try:
        socket.create_connection((host, port), PATIENCE).close()
    except OSError as problem:
        why = "no answer" if isinstance(problem, TimeoutError) else (problem.strerror or str(problem))
        raise LimnerError(
            f"Ray does not answer at {on} ({why.lower()}); check the address, and that the cluster was begun with: ray "
            "start --head --ray-client-server-port PORT"
        ) from problem


def _told(problem: Exception) -> str:
    """The first line of what Ray says, without a full stop."""
    line = next((line.strip() for line in str(problem).splitlines() if line.strip()), type(problem).__name__)
    return line.partition(". ")[0].rstrip(".:")


def _remedy(problem: Exception, on: str) -> str:
    if isinstance(problem, ImportError):
        return f"install what is missing with: {INSTALL}"
    if "ersion mismatch" in str(problem):
        return "install the same versions of Python and Ray here and there"
    if on == RAY:
        return "try again when the machine is less busy, or leave --on out to work with --workers processes"
    return (
        "check that this is the address of Ray's client server, as a rule port 10001, and set RAY_AUTH_MODE=token and "
        "RAY_AUTH_TOKEN where the cluster asks for a token"
    )


class Cluster:
    """Workers of the Ray that this process is connected to, with a processor each."""

    def __init__(self, workers: int, room: int) -> None:
        self.workers = workers
        few = f"Ray has {room} processors, so no more of the {workers} workers were at work at once"
        self.notes = [few] if room < workers else []

    def work(self, share: Share) -> Done:
        """Send the share to the workers, and take what each of them gives."""
        ray = _ray()
        hire = ray.remote(num_cpus=1, max_retries=0, scheduling_strategy="SPREAD")(worker)
        going = [hire.remote(share, version("limner"), number, self.workers) for number in range(self.workers)]
        waiting, stopped, last = going, False, float("inf")
        while waiting:
            try:
                _, waiting = ray.wait(waiting, timeout=1.0)
                if time.monotonic() > last:
                    last = float("inf")
                    for one in waiting:
                        ray.cancel(one, force=True)
            except KeyboardInterrupt:
                stopped, last = True, time.monotonic() + FAREWELL
                for one in waiting:
                    ray.cancel(one)
        return self._done(going, stopped)

    def _done(self, ended: list[Any], stopped: bool) -> Done:
        """What the workers gave. Raises :class:`LimnerError` where one of them did, or has no Limner like this one."""
        ray = _ray()
        exceptions = ray.exceptions
        results, lost = [], []
        for number, one in enumerate(ended, start=1):
            try:
                results.append(ray.get(one))
            except exceptions.TaskCancelledError:  # before it had begun
                continue
            except exceptions.RayTaskError as failed:
                if isinstance(failed.cause, LimnerError):
                    raise failed.cause from None
                if "No module named 'limner" in str(failed):
                    raise LimnerError(
                        "Ray's workers have no Limner; install the one of this machine on theirs, with: pip install "
                        f"'limner[ray]=={version('limner')}'"
                    ) from None
                print(failed, file=sys.stderr, flush=True)
                lost.append(f"worker {number} ended with {_told(failed.cause)}")
            except exceptions.RayError as failed:
                if not stopped:
                    lost.append(f"worker {number} ended ({_told(failed)})")
        return Done(results, lost, stopped)


def worker(share: Share, wanted: str, number: int, of: int) -> Any:
    """A worker's share of the work, on whatever machine it is. Raises :class:`LimnerError` with another Limner."""
    import torch

    if version("limner") != wanted:
        raise LimnerError(
            f"a worker of Ray at {socket.gethostname()} has Limner {version('limner')}, but here is {wanted}; install "
            "the same on all machines"
        )
    torch.set_num_threads(1)  # the one processor that it was given
    return share(number, of)
