"""Who does the work: processes, and Ray by a stand-in that does it here; and one real Ray, where there is one."""

import os
import signal
import socket
import threading
import time
from contextlib import nullcontext
from functools import partial
from importlib.util import find_spec
from types import SimpleNamespace

import pytest
import shares
from test_experience import FAMILY, TREE, told

from limner.errors import LimnerError
from limner.tasks import held, load
from limner.verbs import crew, crew_ray
from limner.verbs.experience import experience
from limner.verbs.experience_share import whole


@pytest.fixture(autouse=True)
def quick(monkeypatch, tmp_path):
    monkeypatch.setattr("limner.memory.fingerprints._installed_extractor", lambda: None)
    monkeypatch.chdir(tmp_path)


class RayError(Exception):
    pass


class RayTaskError(RayError):
    def __init__(self, cause):
        super().__init__(f"ray::worker()\n{type(cause).__name__}: {cause}")
        self.cause = cause


class TaskCancelledError(RayError):
    pass


class InProcess:
    """Stands in for Ray: does each share when it is asked for, in this process."""

    exceptions = SimpleNamespace(RayError=RayError, RayTaskError=RayTaskError, TaskCancelledError=TaskCancelledError)

    def __init__(self, processors=2, machine=None, refuses=None):
        self.processors, self.machine, self.refuses = processors, machine or socket.gethostname(), refuses
        self.running, self.asked, self.cancelled, self.interrupted = False, {}, [], 0

    def init(self, address, **asked):
        self.running, self.asked = True, {"address": address, **asked}
        if self.refuses is not None:
            raise self.refuses

    def shutdown(self):
        self.running = False

    def nodes(self):
        return [{"Alive": True, "NodeManagerHostname": self.machine}, {"Alive": False, "NodeManagerHostname": "gone"}]

    def cluster_resources(self):
        return {"CPU": float(self.processors)}

    def remote(self, **asked):
        assert asked["max_retries"] == 0  # else a run that killed its worker kills the next one, too
        return lambda work: SimpleNamespace(remote=lambda *given: partial(work, *given))

    def wait(self, waiting, timeout):
        if self.interrupted:
            self.interrupted -= 1
            raise KeyboardInterrupt
        return waiting[:1], waiting[1:]

    def cancel(self, one, force=False):
        self.cancelled.append(one)

    def get(self, one):
        if one in self.cancelled:
            raise TaskCancelledError
        try:
            return one()
        except RayError:
            raise
        except Exception as trouble:
            raise RayTaskError(trouble) from trouble


@pytest.fixture
def ray(monkeypatch):
    found = InProcess()
    monkeypatch.setattr(crew_ray, "find_spec", lambda _name: object())
    monkeypatch.setattr(crew_ray, "_ray", lambda: found)
    return found


def test_processes_give_what_they_made_and_one_that_dies_takes_no_other_with_it():
    assert crew.Alone().work(shares.numbers) == ([(0, 1)], [], False)
    done = crew.Processes(2).work(shares.dying)
    assert done == ([0], ["worker 2 ended with code 7"], False)


def test_a_mistake_in_a_process_is_told_here():
    with pytest.raises(LimnerError, match="the memory is full"):
        crew.Processes(1).work(shares.mistaken)


def test_on_ray_the_same_is_done_as_here(ray, tmp_path):
    asked = {"tasks": 4, "runs": 2, "adviser": "random"}
    experience(TREE, FAMILY, **asked, memory=str(tmp_path / "one"), out=tmp_path / "a")
    made = experience(TREE, FAMILY, **asked, on="ray", workers=2, memory=str(tmp_path / "two"), out=tmp_path / "b")
    assert (made.state, made.workers, made.notes) == ("finished", 2, [])
    assert told(tmp_path / "one") == told(tmp_path / "two")
    assert ray.asked["address"] == "local"
    assert ray.asked["num_cpus"] == 2
    assert ray.asked["log_to_driver"] is False
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
    assert not ray.running  # it is shut down again


def test_a_cluster_has_as_many_workers_as_processors_and_says_where_there_are_too_few(ray):
    with crew.hired("ray", None, None, False) as found:
        assert (found.workers, found.notes) == (os.cpu_count(), [] if (os.cpu_count() or 1) <= 2 else found.notes)
    with crew.hired("ray", 3, None, False) as found:
        assert found.notes == ["Ray has 2 processors, so no more of the 3 workers were at work at once"]
        assert found.work(shares.numbers).results == [(0, 3), (1, 3), (2, 3)]


def test_a_worker_of_ray_that_dies_is_told_and_the_others_go_on(ray, monkeypatch):
    def die(share, wanted, number, of):
        if number == 1:
            raise RayError("The worker died unexpectedly while executing this task. See the logs.")
        if number == 2:
            raise ValueError("a bug")
        return share(number, of)

    monkeypatch.setattr(crew_ray, "worker", die)
    done = crew_ray.Cluster(3, 3).work(shares.numbers)
    assert done.results == [(0, 3)]
    assert done.lost == [
        "worker 2 ended (The worker died unexpectedly while executing this task)",
        "worker 3 ended with a bug",
    ]


def test_what_a_worker_refuses_is_told_here(ray, monkeypatch):
    with pytest.raises(LimnerError, match="the memory is full"):
        crew_ray.Cluster(2, 2).work(shares.mistaken)
    monkeypatch.setattr(crew_ray, "version", lambda _name: "0.0.1")
    with pytest.raises(LimnerError, match=r"has Limner 0\.0\.1, but here is 9; install the same on all machines"):
        crew_ray.worker(shares.numbers, "9", 0, 1)

    def absent(*_given):
        raise ModuleNotFoundError("No module named 'limner'")

    monkeypatch.setattr(crew_ray, "worker", absent)
    with pytest.raises(LimnerError, match="Ray's workers have no Limner; install the one of this machine on theirs"):
        crew_ray.Cluster(1, 1).work(shares.numbers)


def test_stopped_by_hand_workers_are_told_and_those_not_begun_never_begin(ray):
    ray.interrupted = 1
    done = crew_ray.Cluster(2, 2).work(shares.numbers)
    assert done == ([], [], True)
    assert len(ray.cancelled) == 2


def test_machines_that_cannot_reach_the_memory_are_refused_before_anything_is_written(ray, tmp_path):
    ray.machine = "another"
    with pytest.raises(LimnerError, match=r"lies on this machine, where workers at another cannot reach it.*--memory"):
        experience(TREE, FAMILY, tasks=1, runs=1, on="ray", workers=1, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert not ray.running


@pytest.mark.parametrize(
    ("refuses", "said"),
    [
        (Exception("The current node timed out during startup. This could"), r"not be started here \(The current node"),
        (ImportError("no grpc"), "install what is missing with: pip install 'limner"),
        (RuntimeError("Version mismatch: The cluster"), "the same versions of Python and Ray"),
    ],
)
def test_a_ray_that_does_not_start_is_one_sentence(ray, refuses, said, tmp_path):
    ray.refuses = refuses
    with pytest.raises(LimnerError, match=said) as refusal:
        experience(TREE, FAMILY, tasks=1, runs=1, on="ray", out=tmp_path / "out")
    assert "\n" not in str(refusal.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "on", ["spark", "ray:", "ray://", "ray://here", "ray://here:0", "ray://here:99999", "ray:// :1"]
)
def test_an_address_that_is_none_is_refused(on, ray):
    with pytest.raises(LimnerError, match="right would be ray, or ray://HOST:PORT"):
        crew.check(on, None)


def test_the_memory_of_a_far_cluster_must_be_one_that_all_reach(ray, monkeypatch):
    monkeypatch.setattr(crew_ray, "_is_here", lambda host: host == "here")
    crew.check("ray://here:10001", None)
    with pytest.raises(LimnerError, match=r"workers at far cannot reach it; give one in PostgreSQL .*postgresql://"):
        crew.check("ray://far:10001", None)
    with pytest.raises(LimnerError, match=r"each machine apart; add \?artifacts=PLACE"):
        crew.check("ray://far:10001", "postgresql://team@db/limner")
    crew.check("ray://far:10001", "postgresql://team@db/limner?artifacts=/shared/weights")


def test_without_ray_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setattr(crew_ray, "find_spec", lambda _name: None)
    with pytest.raises(LimnerError, match=r"pip install 'limner\[ray\]'"):
        crew.check("ray", None)


def test_an_address_where_no_one_answers_is_found_out_at_once(ray):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        begun = time.monotonic()
        with (
            pytest.raises(LimnerError, match=f"Ray does not answer at ray://127.0.0.1:{port}"),
            crew.hired(f"ray://127.0.0.1:{port}", None, None, False),
        ):
            pass
    assert time.monotonic() - begun < crew_ray.PATIENCE + 5
    assert not ray.running


def test_this_machine_is_known_from_others():
    assert crew_ray._is_here("127.0.0.1")
    assert not crew_ray._is_here("192.0.2.77")  # an address of no machine (RFC 5737)


def test_a_memory_is_named_so_that_it_means_the_same_elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert whole("mine") == str(tmp_path / "mine" / "memory.db")
    monkeypatch.setenv("LIMNER_ARTIFACTS", "/shared/weights")
    named = whole("postgresql://team:word@db/limner")
    assert "team:word@db/limner" in named
    assert "weights" in named
    assert "schema=limner" in named
    assert whole(named) == named


def test_a_family_is_read_once_for_all_of_its_tasks(monkeypatch, tmp_path):
    from limner.tasks import tables

    read, opened = tables._built_in, []
    monkeypatch.setattr(tables, "_built_in", lambda name, spec: opened.append(name) or read(name, spec))
    before = experience(TREE, FAMILY, tasks=6, runs=1, adviser="random", out=tmp_path / "out")
    alone = len(opened)
    assert [row["state"] for row in before.rows] == ["done"] * 6
    opened.clear()
    with held.reading_once():
        assert len({id(tables.load_table("sklearn:wine")) for _ in range(3)}) == 1
    assert opened == ["wine"]
    assert alone == 2 + 1 + 2  # to count rows, to find mistakes beforehand, and once for the three tasks of each


@pytest.mark.parametrize("spec", ["digits,size=16", "sprites,kinds=4,per_class=3,size=16", "digits,size=16,limit=3"])
def test_what_is_read_once_is_what_would_be_read(spec):
    names = load(spec).class_names[:3]
    parts = [f"{spec},classes={name}" for name in names] + [f"{spec},classes={names[0]},colour=rgb", spec]
    apart = [load(part) for part in parts]
    with held.reading_once():
        together = [load(part) for part in parts]
    for one, other in zip(apart, together, strict=True):
        assert (one.sha256, one.name, one.notes, one.class_names) == (
            other.sha256,
            other.name,
            other.notes,
            other.class_names,
        )
    assert held.holding() is False


BUSY = (os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0) > 2 * (os.cpu_count() or 1)


@pytest.mark.slow
@pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed; pip install 'limner[ray]'")
@pytest.mark.skipif(BUSY, reason="this machine is too busy for Ray, which gives its own start 15 seconds and no more")
def test_a_real_ray_does_it_too(tmp_path, monkeypatch):
    asked = {"tasks": 2, "runs": 2, "adviser": "random"}
    experience(TREE, FAMILY, **asked, memory=str(tmp_path / "one"), out=tmp_path / "a")
    monkeypatch.setenv("PYTHONPATH", os.path.dirname(shares.__file__))  # for Ray's workers to find the shares
    with crew.hired("ray", 2, None, False) as found:
        assert found.work(shares.numbers).results == [(0, 2), (1, 2)]
        monkeypatch.setattr(crew, "hired", lambda *_asked: nullcontext(found))
        experience(TREE, FAMILY, **asked, on="ray", memory=str(tmp_path / "two"), out=tmp_path / "b")
        assert told(tmp_path / "one") == told(tmp_path / "two")
        died = found.work(shares.dying)
        assert died.results == [0]
        assert "worker 2 ended (The worker died unexpectedly" in died.lost[0]
        with pytest.raises(LimnerError, match="the memory is full"):
            found.work(shares.mistaken)

        def by_hand():
            while len(list(tmp_path.glob("begun-*"))) < 2:
                time.sleep(0.1)
            os.kill(os.getpid(), signal.SIGINT)

        threading.Thread(target=by_hand, daemon=True).start()
        stopped = found.work(partial(shares.patient, str(tmp_path)))
        assert stopped == (["stopped", "stopped"], [], True)
