"""The grid: every cell once, whatever interrupts it or works beside it; summaries without gaps."""

import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, nullcontext, suppress
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path
from statistics import fmean, stdev
from typing import ClassVar

import numpy as np
import pytest
from rich.console import Console
from sklearn.metrics import roc_auc_score
from threadpoolctl import threadpool_limits

from conftest import started
from data_fixtures import write_idx, write_tree
from pyocgan import claims, methods, origin
from pyocgan.baselines import NearestNeighbours
from pyocgan.benchmark import cells as benchmark_cells
from pyocgan.benchmark import (
    finished,
    grid,
    open_pool,
    plan,
    provenance,
    read_scores,
    summarise,
    unfinished,
)
from pyocgan.benchmark import run as run_cells
from pyocgan.benchmark.images import pool_name
from pyocgan.benchmark.results import Result, class_words
from pyocgan.cli import app, run, terminal
from pyocgan.data import ImageRule
from pyocgan.errors import InputError, OcganError, UsageError
from pyocgan.methods import Method, ocgan, other_method

SILENT = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
TINY = [
    "--autoencoder-width=4",
    "--classifier-width=4",
    "--visual-width=4",
    "--latent-size=4",
    "--batch-size=32",
    "--device=cpu",
    "--preset=fast",
]
TWO_EPOCHS = [*TINY, "--epochs=2"]
TINY_NAME = "fast-latent_size4-autoencoder_width4-visual_width4-classifier_width4"
ABOUT = {"commit": "c", "command": "ocgan benchmark"}
ENVIRONMENT = {"machine": "m", "created": "2026-01-02T03:04:05Z"}
IMAGES = {
    "source": "set",
    "description": "d",
    "caveat": "",
    "image_rule": "r",
    "rule": {"image_size": [8, 8], "channels": 1, "bits": 16},
    "checksum": {"all": "0"},
}


def benchmark(out, *arguments, dataset="digits", classes="0,8", method="knn,pca"):
    flags = [f"--dataset={dataset}", f"--classes={classes}", f"--method={method}"]
    return run(["benchmark", *flags, f"--out={out}", *map(str, arguments)])


def results(out):
    return {path: json.loads(path.read_text()) for path in sorted(out.rglob("*.json"))}


def files(out):
    """Every file and when it was written."""
    return {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def pools():
    return {protocol: open_pool("digits", protocol) for protocol in (1, 2, "dev")}


class Spy(NearestNeighbours):
    """Nearest neighbours that keep what they were fitted on."""

    fitted_on: ClassVar = []
    fail_at = None  # raise this error, (number of the fit, error)

    def fit(self, X):
        if self.fail_at and len(self.fitted_on) == self.fail_at[0]:
            self.fitted_on.append(None)
            raise self.fail_at[1]
        self.fitted_on.append(X.copy())
        return super().fit(X)


class Diary(NearestNeighbours):
    """Nearest neighbours that take their time, and leave a file for every fit."""

    def __init__(self, folder):
        super().__init__()
        self.folder = folder

    def fit(self, X):
        (self.folder / f"{X.sum()}-{os.getpid()}").touch(exist_ok=False)
        time.sleep(0.1)
        return super().fit(X)


def make_spy(seed):
    return Spy()


def make_diary(folder, seed):
    return Diary(folder)


def method(make, name="spy", *, is_random=False):
    return Method(name, "Spy", "baseline", {"k": 5}, make, is_random)


def cells_of(pool, *chosen, **parameters):
    return plan([pool], lambda rule: chosen, **parameters)


@pytest.fixture
def spy(monkeypatch):
    """The method "spy", known to the command."""
    monkeypatch.setattr(Spy, "fitted_on", [])
    monkeypatch.setattr(Spy, "fail_at", None)
    monkeypatch.setitem(methods._TRAINING_FREE, "spy", ("Spy", make_spy, False))
    return Spy


# ---- end to end ----------------------------------------------------------------------------------


def test_a_grid_has_one_result_a_cell_with_scores_that_give_its_figures(tmp_path, capsys):
    assert benchmark(tmp_path, *TWO_EPOCHS, "--seeds=0,1", "--json", method="ocgan,knn") == 0
    printed = json.loads(capsys.readouterr().out)
    found = results(tmp_path)
    names = {str(path.relative_to(tmp_path / "digits" / "protocol2")) for path in found}
    tiny = f"{TINY_NAME}-batch_size32-epochs2"
    assert names == {  # nearest neighbours draw nothing in protocol 2: seed 0 alone
        *(f"{tiny}/class-{c}-seed{seed}.json" for c in (0, 8) for seed in (0, 1)),
        *(f"knn/class-{c}-seed0.json" for c in (0, 8)),
    }
    assert len(printed) == len(found) == 6
    for path, result in found.items():
        scores = read_scores(path)
        assert result["auroc"] == roc_auc_score(scores["is_novel"], scores["score"])
        assert (scores["is_novel"] == (scores["label"] != result["class"])).all()
        assert len(scores["index"]) == result["n_test"] == 359
        assert result["commit"]
        assert result["command"]
        assert result["environment"]["machine"]
        assert result["seconds"].keys() == {"fit", "score"}
        assert set(result["images"]["checksum"]) == {"train", "test"}
        assert (result["images"]["source"], result["images"]["caveat"]) == ("digits", "")
        assert result["changes"].get("epochs") == (2 if result["kind"] == "ocgan" else None)
    trained = [r for r in found.values() if r["kind"] == "ocgan"]
    assert {r["config"]["epochs"] for r in trained} == {2}
    assert {r["preset"] for r in trained} == {"fast"}
    scored = [read_scores(path)["score"] for path, r in found.items() if r["kind"] == "ocgan"]
    assert len({scores.tobytes() for scores in scored}) == 4  # the seeds are used


@pytest.mark.parametrize("protocol", [1, 2, "dev"])
def test_only_the_normal_class_trains(spy, pools, tmp_path, protocol):
    pool = pools[protocol]
    cells = cells_of(pool, method(make_spy), classes=["3"], seeds=(0, 1))
    list(run_cells(cells, tmp_path, ABOUT))
    assert len(spy.fitted_on) == (1 if protocol == 2 else 2)
    images = pool.images[0]
    threes = {image.tobytes() for image in images.pixels[images.labels == "3"]}
    for pixels, cell in zip(spy.fitted_on, cells, strict=True):
        assert {image.tobytes() for image in pixels} <= threes
        assert (images.labels[cell.trial.train_rows] == "3").all()
        if protocol != 2:
            assert not np.isin(cell.trial.train_rows, cell.trial.test_rows).any()


def test_the_development_split_holds_no_test_image(pools):
    pool = pools["dev"]
    tested = {image.tobytes() for image in pools[2].images[1].pixels}
    trained = {image.tobytes() for image in pools[2].images[0].pixels}
    trial = pool.trial("3", 0)
    seen = {image.tobytes() for image in (*trial.train_pixels, *trial.test_pixels)}
    assert seen <= trained
    assert not seen & (tested - trained)
    assert set(trial.test_labels[trial.is_novel]) > {"1", "8"}
    assert (trial.test_labels[~trial.is_novel] == "3").all()


def test_the_seed_of_protocol_1_draws_other_images(pools):
    cells = cells_of(pools[1], method(make_spy), classes=["3"], seeds=(0, 1))
    first, second = (cell.trial for cell in cells)
    assert first.checksums != second.checksums
    assert pools[1].trial("3", 0).checksums == first.checksums


def test_results_do_not_depend_on_the_number_of_jobs(tmp_path):
    chosen = {"classes": "8", "method": "ocgan,knn,iforest"}
    for jobs in (1, 2):
        assert benchmark(tmp_path / str(jobs), *TWO_EPOCHS, f"--jobs={jobs}", "-q", **chosen) == 0
    one, two = (results(tmp_path / str(jobs)) for jobs in (1, 2))
    assert len(one) == len(two) == 3
    for (path, first), second in zip(one.items(), two.values(), strict=True):
        assert first["auroc"] == second["auroc"], path
        assert first["data"] == second["data"]
        assert second["environment"]["threads"] == 1


def test_results_say_how_many_threads_computed_them(tmp_path):
    for threads in (1, 2):
        with threadpool_limits(threads):
            assert benchmark(tmp_path / f"{threads}", "-q", classes="8", method="knn") == 0
        (result,) = results(tmp_path / f"{threads}").values()
        assert result["environment"]["threads"] == threads


def test_results_of_a_stack_are_those_of_one_by_one(tmp_path):
    """To rounding: one epoch, so that it stays small. The classes differ in size."""
    chosen = {"classes": "1,5,8", "method": "ocgan,knn"}
    flags = [*TINY, "--epochs=1", "--seeds=0,1", "-q"]
    assert benchmark(tmp_path / "one", *flags, **chosen) == 0
    for jobs in ("1", "2"):
        assert benchmark(tmp_path / jobs, *flags, "--stack=4", f"--jobs={jobs}", **chosen) == 0
        one, other = results(tmp_path / "one"), results(tmp_path / jobs)
        together = [r.pop("fitted_together", 1) for r in other.values()]
        assert sorted(together) == [1, 1, 1, 2, 2, 4, 4, 4, 4]
        assert len(one) == len(other) == 3 * 2 + 3
        for (path, first), (twin, second) in zip(one.items(), other.items(), strict=True):
            assert first.keys() == second.keys()
            same = ("method", "config", "data", "class", "seed", "n_train", "n_test")
            assert [first[key] for key in same] == [second[key] for key in same]
            scores = [read_scores(p)["score"] for p in (path, twin)]
            np.testing.assert_allclose(*scores, rtol=1e-3)
            assert first["auroc"] == pytest.approx(second["auroc"], abs=2e-3)
    assert not [*tmp_path.rglob("*.checkpoint"), *tmp_path.rglob("*.claim*")]


def test_one_cell_of_a_stack_that_fails_does_not_stop_the_others(tmp_path, pools, monkeypatch):
    from pyocgan.detector import NoveltyDetector

    settings = {"epochs": 1, "autoencoder_width": 4, "classifier_width": 4, "batch_size": 32}
    tiny = ocgan("fast", settings, pools[2].rule, device="cpu")
    cells = cells_of(pools[2], tiny, classes=["0", "3", "8"], seeds=(0, 1))
    prepare = NoveltyDetector._prepare

    def fail(detector, X):
        if X.sum() == cells[0].trial.train_pixels.sum() and detector.random_state == 1:
            raise InputError("no good")
        return prepare(detector, X)

    monkeypatch.setattr(NoveltyDetector, "_prepare", fail)
    with claims.claimed(cells[4].path(tmp_path)):
        outcomes = list(run_cells(cells, tmp_path, ABOUT, stack=10))
    assert [outcome.cell for outcome in outcomes] == cells
    assert [o.error for o in outcomes] == [None, "no good", None, None, None, None]
    assert [o.result is None for o in outcomes] == [False, True, False, False, True, False]
    assert len(results(tmp_path)) == 4


def test_a_cut_cell_is_the_same_cell(pools):
    for protocol in (1, 2):
        (cell,) = cells_of(pools[protocol], method(make_spy), classes=["3"])
        cut = cell.cut()
        assert cut.identity == cell.identity
        assert (cut.trial.test_pixels == cell.trial.test_pixels).all()
        assert (cut.trial.test_labels == cell.trial.test_labels).all()
        assert (cut.trial.test_index == cell.trial.test_rows).all()
        assert len(cut.trial.train) < len(cell.trial.train)


# ---- going on ------------------------------------------------------------------------------------


def test_a_finished_cell_is_never_computed_again(tmp_path, spy):
    assert benchmark(tmp_path, method="spy", classes="0,8") == 0
    before = files(tmp_path)
    assert benchmark(tmp_path, method="spy", classes="0,8") == 0
    assert files(tmp_path) == before
    assert len(spy.fitted_on) == 2
    next(tmp_path.rglob("class-8-*.json")).unlink()
    assert benchmark(tmp_path, method="spy", classes="0,8") == 0
    assert len(spy.fitted_on) == 3
    assert {p for p, t in before.items() if files(tmp_path)[p] == t} == {
        p for p in before if "class-0" in p.name
    }


def test_killed_in_the_middle_the_same_command_goes_on(tmp_path):
    chosen = {"classes": "0,1,8", "method": "knn,ocgan"}
    flags = [*TINY, "--epochs=8", "--protocol=1"]
    command = ["benchmark", "--dataset=digits", *(f"--{k}={v}" for k, v in chosen.items()), *flags]
    with started("-m", "pyocgan", *command, f"--out={tmp_path}", **SILENT) as process:
        wait_for(lambda: [*tmp_path.glob("digits/protocol1/fast*/*.claim0")])
        process.kill()
    before = files(tmp_path)
    assert 1 <= len(results(tmp_path)) < 6
    assert [*tmp_path.rglob("*.claim0")]
    assert benchmark(tmp_path, *flags, **chosen) == 0
    assert len(results(tmp_path)) == 6
    kept = {path: stamp for path, stamp in before.items() if path.suffix == ".json"}
    assert kept.items() <= files(tmp_path).items()
    assert not [*tmp_path.rglob("*.claim*")]


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="asks Linux for processes")
def test_where_the_command_is_killed_its_workers_finish_their_cells_and_go(tmp_path):
    def alive():
        """Process and parent of all but those that have ended."""
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):  # ended meanwhile
                state, parent = stat.read_text().rpartition(")")[2].split()[:2]
                if state != "Z":
                    yield int(stat.parent.name), int(parent)

    def claims():
        return [*tmp_path.glob("digits/protocol1/fast*/*.claim0")]

    command = ["benchmark", "--dataset=digits", "--classes=0,1,8", "--method=ocgan", "--jobs=2"]
    flags = [*TINY, "--epochs=8", "--protocol=1", f"--out={tmp_path}"]
    with started("-m", "pyocgan", *command, *flags, **SILENT) as process:
        wait_for(lambda: len(claims()) == 2)
        children = {child for child, parent in alive() if parent == process.pid}
        assert len(children) >= 2
        process.kill()
    wait_for(lambda: children.isdisjoint(child for child, _ in alive()))
    assert 2 <= len(results(tmp_path)) <= 3
    assert not claims()


def test_training_goes_on_in_the_middle_of_a_cell(tmp_path, pools, monkeypatch):
    settings = {"epochs": 3, "autoencoder_width": 4, "classifier_width": 4, "latent_size": 4}

    def cell():
        tiny = ocgan("fast", settings, pools[1].rule, device="cpu")
        return cells_of(pools[1], tiny, classes=["8"])[0]

    (whole,) = run_cells([cell()], tmp_path / "whole", ABOUT)
    path = cell().checkpoint(tmp_path / "parts")
    steps = cell().method.make(0).iter_fit(cell().trial.train_pixels, checkpoint=path)
    for _ in range(3):
        next(steps)
    steps.close()
    assert path.exists()
    from pyocgan.training import Training  # here: spawned processes need no torch

    used = []
    load = Training.load
    monkeypatch.setattr(Training, "load", lambda *a: (used.append(a[1]), load(*a)))
    (parts,) = run_cells([cell()], tmp_path / "parts", ABOUT)
    assert parts.result["auroc"] == whole.result["auroc"]
    assert parts.result["seconds"]["fit"] > 0
    assert used == [path]
    assert {file.suffix for file in path.parent.iterdir()} == {".json", ".npz"}


@pytest.mark.parametrize("device", ["auto", "cpu"])
def test_a_result_names_the_gpu_that_it_comes_from_alone(tmp_path, pools, monkeypatch, device):
    cuda = import_module("torch").cuda
    monkeypatch.setattr(cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(cuda, "is_available", lambda: True)
    monkeypatch.setattr(cuda, "get_device_name", lambda device: f"G of {device}")
    monkeypatch.setattr(grid, "environment", lambda: dict(ENVIRONMENT))
    chosen = replace(method(make_spy), kind="ocgan", device=device)
    (outcome,) = run_cells(cells_of(pools[2], chosen, classes=["8"]), tmp_path, ABOUT)
    assert outcome.result["environment"]["machine"] == ("m, G of cuda" if device == "auto" else "m")


def test_a_checkpoint_is_of_one_device(tmp_path, pools, monkeypatch):
    def path(device):
        method = ocgan("fast", {}, pools[1].rule, device=device)
        return cells_of(pools[1], method, classes=["8"])[0].checkpoint(tmp_path)

    monkeypatch.setattr(import_module("torch").cuda, "is_available", lambda: True)
    assert path("auto") == path("cuda") == path("cuda:1") != path("cpu")
    monkeypatch.setattr(import_module("torch").cuda, "is_available", lambda: False)
    assert path("auto") == path("cpu")
    with pytest.raises(UsageError, match="finds no such GPU"):
        path("cuda")


def test_a_checkpoint_is_of_one_code(tmp_path, pools, monkeypatch):
    """A result says by which commit it came about: all of it."""
    (cell,) = cells_of(pools[2], method(make_spy), classes=["8"])
    before = cell.checkpoint(tmp_path)
    assert cell.checkpoint(tmp_path) == before
    monkeypatch.setattr(benchmark_cells, "code", lambda: "another")
    assert cell.checkpoint(tmp_path) != before


def test_interrupted_it_exits_130_and_keeps_what_is_finished(tmp_path, spy, capsys):
    spy.fail_at = (1, KeyboardInterrupt())
    assert benchmark(tmp_path, method="spy", classes="0,1,8") == 130
    assert "1 of 3 cells are finished and stay" in capsys.readouterr().err
    assert len(results(tmp_path)) == 1
    assert not [*tmp_path.rglob("*.claim*")]


def test_a_cell_without_result_is_not_counted_as_finished(tmp_path, spy, capsys, monkeypatch):
    make = spy.fit

    def fit(self, X):
        if len(self.fitted_on) == 2:
            raise KeyboardInterrupt
        return make(self, X)

    spy.fail_at = (1, InputError("no good"))
    monkeypatch.setattr(spy, "fit", fit)
    assert benchmark(tmp_path, method="spy", classes="0,1,8") == 130
    assert "1 of 3 cells are finished and stay" in capsys.readouterr().err


def test_a_terminated_grid_leaves_no_process_and_no_claim(tmp_path):
    flags = [
        "--dataset=digits",
        "--classes=0,1,8",
        "--method=ocgan",
        "--jobs=2",
        f"--out={tmp_path}",
    ]
    command = ["-m", "pyocgan", "benchmark", *flags, *TINY, "--epochs=2000"]

    def holders():  # of claims that are written to the end
        return [*filter(None, map(claims._read, tmp_path.rglob("*.claim0")))]

    with started(*command, **SILENT) as process:
        wait_for(lambda: len(holders()) == 2)
        workers = [holder["pid"] for holder in holders()]
        assert process.pid not in workers
        process.terminate()
        assert process.wait(timeout=240) == 130
    wait_for(lambda: not any(claims._is_alive(pid) for pid in workers))
    assert unclaimed(tmp_path)


def unclaimed(folder):
    """Whether nobody living holds a claim."""
    return not any(claims.is_claimed(claim) for claim in folder.rglob("*.claim*"))


def test_a_worker_starts_nothing_for_a_parent_that_is_gone(tmp_path, pools, spy, monkeypatch):
    monkeypatch.setattr(grid, "_leave_with", lambda _: nullcontext())  # pytest is to stay
    cells = cells_of(pools[2], method(make_spy), classes=["0"])
    ended = grid._compute_alone(3, cells, tmp_path, ABOUT, False, parent=dead_pid())
    assert ended == (3, [(None, None)])
    assert not spy.fitted_on
    assert grid._compute_alone(3, cells, tmp_path, ABOUT, False, parent=os.getppid())[1][0][0]


@pytest.mark.parametrize(
    ("error", "text"),
    [(InputError("no good"), "no good"), (MemoryError("no\nroom"), "MemoryError: no room")],
)
def test_one_cell_that_fails_does_not_stop_the_others(tmp_path, spy, capsys, error, text):
    spy.fail_at = (1, error)
    assert benchmark(tmp_path, method="spy", classes="0,1,8") == 1
    assert (
        f"1 of 3 cells failed, the first being digits, protocol 2, spy, class 1, seed 0: {text}"
        in (capsys.readouterr().err)
    )
    assert len(results(tmp_path)) == 2


def die(seed):
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_worker_that_is_killed_is_one_line(tmp_path, pools):
    cells = cells_of(pools[2], method(die), classes=["0", "8"])
    with pytest.raises(OcganError, match="a worker process was killed, perhaps for want of memory"):
        list(run_cells(cells, tmp_path, ABOUT, jobs=2))


def work_beside_others(folder, diary):
    cells = cells_of(open_pool("digits", 2), method(partial(make_diary, diary)))
    list(run_cells(cells, folder, ABOUT))


def test_two_processes_at_once_compute_each_cell_once(tmp_path):
    diary, out = tmp_path / "diary", tmp_path / "out"
    diary.mkdir()
    context = multiprocessing.get_context("spawn")
    both = [context.Process(target=work_beside_others, args=(out, diary)) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join()
    assert [process.exitcode for process in both] == [0, 0]
    assert len(results(out)) == 10
    fits = [file.name.split("-") for file in diary.iterdir()]
    assert len(fits) == len({images for images, _ in fits}) == 10
    assert not [*out.rglob("*.claim*")]


# ---- claims --------------------------------------------------------------------------------------


def write_claim(path, *, pid, host=None, started=None, number=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    holder = {"pid": pid, "host": host or socket.gethostname(), "time": "", "started": started}
    path.with_suffix(f".claim{number}").write_text(json.dumps(holder))


def dead_pid():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def is_free(path):
    with claims.claimed(path) as mine:
        return mine


def test_a_claim_excludes_others_and_is_given_back(tmp_path):
    path = tmp_path / "cell.json"
    with claims.claimed(path) as first, claims.claimed(path) as second:
        assert (first, second) == (True, False)
        assert claims.is_claimed(path)
        holder = json.loads((tmp_path / "cell.claim0").read_text())
        assert (holder["pid"], holder["host"]) == (os.getpid(), socket.gethostname())
    assert not claims.is_claimed(path)
    assert not [*tmp_path.iterdir()]


def test_a_file_that_is_only_called_like_a_claim_is_none(tmp_path):
    for name in ("cell.claims", "cell.claim", "cell.claim0.txt"):
        (tmp_path / name).touch()
    assert not claims.is_claimed(tmp_path / "cell.json")
    assert is_free(tmp_path / "cell.json")
    assert len([*tmp_path.iterdir()]) == 3


def test_the_claim_of_a_dead_process_is_taken_over(tmp_path):
    path = tmp_path / "cell.json"
    write_claim(path, pid=dead_pid())
    with claims.claimed(path) as mine:
        assert mine
        assert (tmp_path / "cell.claim1").exists()
        assert not is_free(path)
    assert not [*tmp_path.iterdir()]


def test_a_claim_that_is_given_back_meanwhile_is_not_taken_over(tmp_path, monkeypatch):
    path = tmp_path / "cell.json"
    monkeypatch.setattr(claims, "_claims", lambda _: [tmp_path / "cell.claim0"])  # gone since
    with claims.claimed(path) as mine:
        assert not mine  # another may have it by now
    assert not any(tmp_path.iterdir())


def test_claims_of_living_processes_and_other_hosts_stand(tmp_path):
    mine, elsewhere, recycled = (tmp_path / f"{name}.json" for name in ("a", "b", "c"))
    write_claim(mine, pid=os.getpid(), started=claims._started(os.getpid()))
    write_claim(elsewhere, pid=dead_pid(), host="another")
    write_claim(recycled, pid=os.getpid(), started="-1")  # the pid of a later process
    assert [is_free(path) for path in (mine, elsewhere, recycled)] == [False, False, True]


def test_a_full_disk_leaves_no_claim(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(claims.json, "dump", full)
    with pytest.raises(OcganError, match="No space left"):
        is_free(tmp_path / "cell.json")
    assert not [*tmp_path.iterdir()]


def test_a_claim_without_content_is_being_written_unless_it_is_old(tmp_path):
    claim = tmp_path / "cell.claim0"
    claim.touch()
    assert not is_free(tmp_path / "cell.json")
    os.utime(claim, (0, 0))
    assert is_free(tmp_path / "cell.json")


def test_who_takes_over_too_late_gives_way(tmp_path, monkeypatch):
    """Between reading the claims and making one, they were taken over, given back, taken anew."""
    path, stack = tmp_path / "cell.json", ExitStack()
    write_claim(path, pid=dead_pid())
    read_claims = claims._claims

    def overtaken(given):
        found = read_claims(given)
        monkeypatch.undo()
        with claims.claimed(path) as first:
            assert first
        assert stack.enter_context(claims.claimed(path))
        return found

    monkeypatch.setattr(claims, "_claims", overtaken)
    with stack:
        assert not is_free(path)
        assert [file.name for file in tmp_path.iterdir()] == ["cell.claim0"]


def test_a_cell_that_another_process_has_is_left_to_it(tmp_path, pools, spy):
    cells = cells_of(pools[2], method(make_spy), classes=["0", "8"])
    with claims.claimed(cells[0].path(tmp_path)):
        outcomes = list(run_cells(cells, tmp_path, ABOUT))
    assert [outcome.result is None for outcome in outcomes] == [True, False]
    assert [outcome.error for outcome in outcomes] == [None, None]


def test_a_claim_of_another_host_is_described(tmp_path, pools, spy, capsys):
    (cell,) = cells_of(pools[2], method(make_spy), classes=["0"])
    path = cell.path(tmp_path)
    write_claim(path, pid=7, host="elsewhere")
    assert benchmark(tmp_path, method="spy", classes="0,8") == 0
    said = capsys.readouterr().err
    assert "1 cell is left to other processes" in said
    assert f"process 7 of host 'elsewhere' since ; if it has ended, delete '{tmp_path}" in said
    with claims.claimed(path.with_name("class-8-seed0.json")):
        here = path.with_name("class-8-seed0.json")
        assert claims.unsure_claim(here) is None
    write_claim(here, pid=os.getpid())  # as where nobody can tell when a process started
    assert f"process {os.getpid()} of host" in claims.unsure_claim(here)


# ---- identity ------------------------------------------------------------------------------------


def test_a_result_of_other_settings_is_an_error_that_names_the_file(tmp_path, pools, spy, capsys):
    assert benchmark(tmp_path, method="spy", classes="0,8") == 0
    path = next(tmp_path.rglob("class-8-*.json"))
    write(path, json.loads(path.read_text()) | {"config": {"space": "raw", "k": 7}})
    capsys.readouterr()
    assert benchmark(tmp_path, method="spy", classes="0,8") == 2
    message = capsys.readouterr().err
    assert str(path) in message
    assert "config (k 7, now 5)" in message
    kept = files(tmp_path)
    assert benchmark(tmp_path, "--overwrite", method="spy", classes="0,8") == 0
    assert len(spy.fitted_on) == 3
    assert {p for p in kept if files(tmp_path)[p] != kept[p]} == {path, path.with_suffix(".npz")}
    assert benchmark(tmp_path, method="spy", classes="0,8") == 0


def test_a_result_from_before_a_setting_came_is_of_its_default(tmp_path, capsys):
    flags, chosen = [*TINY, "--epochs=1", "-q"], {"classes": "1", "method": "ocgan"}
    assert benchmark(tmp_path, *flags, **chosen) == 0
    (path,) = tmp_path.rglob("class-1-*.json")
    result = json.loads(path.read_text())
    del result["config"]["turn_passes"]
    write(path, result)
    before = files(tmp_path)
    assert benchmark(tmp_path, *flags, **chosen) == 0
    assert files(tmp_path) == before, "computed again"
    write(path, result | {"config": result["config"] | {"batch_size": 16}})
    assert benchmark(tmp_path, *flags, **chosen) == 2
    assert "config (batch_size 16, now 32)" in capsys.readouterr().err


def test_a_result_of_other_images_is_an_error(tmp_path, pools, spy):
    cells = cells_of(pools[2], method(make_spy), classes=["0"])
    list(run_cells(cells, tmp_path, ABOUT))
    path = cells[0].path(tmp_path)
    write(path, json.loads(path.read_text()) | {"data": {"train": "x", "test": "y"}})
    with pytest.raises(UsageError, match=r"class-0-seed0.json.*data checksum"):
        finished(cells[0], tmp_path)
    assert unfinished(cells, tmp_path, overwrite=True) == cells


def test_a_damaged_result_is_an_error_that_names_the_file(tmp_path, pools):
    (cell,) = cells_of(pools[2], method(make_spy), classes=["0"])
    path = cell.path(tmp_path)
    path.parent.mkdir(parents=True)
    path.write_text("{")
    with pytest.raises(InputError, match=r"class-0-seed0\.json"):
        finished(cell, tmp_path)
    assert finished(cell, tmp_path, overwrite=True) is None
    flags = ("--overwrite", "--dry-run")
    assert benchmark(tmp_path, *flags, method="knn", classes="0") == 0


def test_a_result_without_scores_is_not_finished(tmp_path, spy, capsys):
    assert benchmark(tmp_path, method="spy", classes="0,8") == 0
    scores = next(tmp_path.rglob("class-8-*.npz"))
    scores.unlink()
    assert benchmark(tmp_path, method="spy", classes="0,8") == 3
    advice = "put it back, or ocgan benchmark --overwrite"
    assert f"{str(scores)!r} is missing: {advice}" in capsys.readouterr().err
    assert benchmark(tmp_path, "--overwrite", method="spy", classes="0,8") == 0
    assert len(spy.fitted_on) == 3
    assert scores.exists()


@pytest.mark.parametrize("command", ["summarise", "report"])
def test_a_field_that_a_result_lacks_is_named(tmp_path, capsys, command):
    arguments = {
        "summarise": ["benchmark", "summarise", str(tmp_path), f"--results={tmp_path / 'tables'}"],
        "report": ["report", str(tmp_path)],
    }[command]
    path = write_grid(tmp_path) / "set" / "protocol1" / "knn" / "class-a-seed1.json"
    whole = json.loads(path.read_text())
    for key in Result.__required_keys__:
        write(path, {k: v for k, v in whole.items() if k != key})
        assert run(arguments) == 3
        said = capsys.readouterr().err
        assert f"{str(path)!r} is not a whole result of a benchmark: {key!r} is missing" in said
    images = {key: value for key, value in whole["images"].items() if key != "image_rule"}
    for change, fault in (
        ({"images": images}, "'image_rule' of 'images' is missing"),
        ({"images": []}, "'images' is []"),
        ({"auroc": "high"}, "'auroc' is 'high'"),
        ({"auroc": float("nan")}, "'auroc' is nan, no number in [0, 1]: ocgan benchmark --over"),
        ({"aupr": 17}, "'aupr' is 17, no number in [0, 1]"),
        ({"fpr_at_95_tpr": -0.1}, "'fpr_at_95_tpr' is -0.1, no number in [0, 1]"),
        ({"protocol": 3}, "'protocol' is 3"),
        ({"preset": 1}, "'preset' is 1"),
    ):
        write(path, whole | change)
        assert run(arguments) == 3
        assert fault in capsys.readouterr().err


def test_overwrite_waits_for_the_process_that_writes_anew(tmp_path, spy, capsys):
    assert benchmark(tmp_path, method="spy", classes="0") == 0
    path = next(tmp_path.rglob("class-0-*.json"))
    write(path, json.loads(path.read_text()) | {"config": {"space": "raw", "k": 7}})
    with claims.claimed(path):
        assert benchmark(tmp_path, "--overwrite", method="spy", classes="0") == 0
    assert "1 cell is left to other processes" in capsys.readouterr().err


def test_a_dry_run_writes_nothing(tmp_path, spy, capsys):
    out = tmp_path / "out"
    assert benchmark(out, "--dry-run", "--json", method="spy", classes="0,8") == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["cells"], row["to_do"], row["seconds"]) == (2, 2, None)
    assert not out.exists()
    assert benchmark(out, "--dry-run", method="spy") == 0
    said = capsys.readouterr()
    assert "unknown" in said.out
    assert "a time is known once a cell of the same kind is finished" in said.err
    assert benchmark(out, method="spy", classes="0,8") == 0
    before = files(out)
    capsys.readouterr()
    assert benchmark(out, "--dry-run", "--json", method="spy", classes="0,1,2") == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["cells"], row["finished"], row["to_do"]) == (3, 1, 2)
    assert row["seconds"] == pytest.approx(
        sum(sum(r["seconds"].values()) for r in results(out).values())
    )
    assert files(out) == before


def test_a_dry_run_times_a_few_steps_of_a_training(tmp_path, capsys):
    def seconds(*flags):
        chosen = {"method": "ocgan", "classes": "0,8"}
        assert benchmark(tmp_path / "out", "--dry-run", "--json", *TINY, *flags, **chosen) == 0
        return json.loads(capsys.readouterr().out)[0]["seconds"]

    short, long = seconds("--stage=ae", "--epochs=2"), seconds("--stage=ae", "--epochs=2000")
    assert 100 < long / short < 10_000, "they differ by 1,000, and steps differ by chance"
    mined = seconds("--epochs=2000", "--mining-steps=200", "--mining-warmup=0.5")
    assert mined > 3 * long
    assert not (tmp_path / "out").exists()


# ---- summaries -----------------------------------------------------------------------------------

AUROC = {("a", 0): 0.9, ("a", 1): 0.8, ("b", 0): 0.5, ("b", 1): 0.7}


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def write_grid(folder, auroc=AUROC, **changed):
    for (name, seed), value in auroc.items():
        content = ABOUT | {
            "format": "pyocgan cell",
            "environment": ENVIRONMENT,
            "dataset": "set",
            "protocol": 1,
            "class": name,
            "seed": seed,
            "method": "knn",
            "title": "kNN",
            "kind": "baseline",
            "preset": None,
            "changes": {},
            "is_random": False,
            "classes": ["a", "b"],
            "config": {"k": 5},
            "data": {"train": "0", "test": "1"},
            "images": IMAGES,
            "auroc": value,
            "aupr": value / 2,
            "fpr_at_95_tpr": 1 - value,
            "seconds": {"fit": 1.0, "score": 0.5},
            "n_train": 8,
            "n_test": 4,
        }
        path = folder / "set" / "protocol1" / "knn" / f"class-{name}-seed{seed}.json"
        write(path, content | changed)
    return folder


def summary_in(folder, **parameters):
    (path,) = summarise(folder, folder / "results", **parameters)
    assert path == folder / "results" / "set" / "protocol1" / "knn.json"
    return json.loads(path.read_text())


def test_mean_and_deviation_by_hand(tmp_path):
    summary = summary_in(write_grid(tmp_path))
    assert summary["mean_by_class"] == {"a": 0.85, "b": 0.6}
    assert summary["mean"] == pytest.approx(fmean([0.85, 0.6]))
    assert summary["std"] == pytest.approx(stdev([0.7, 0.75]), abs=1e-6)
    assert summary["mean_aupr"] == pytest.approx(0.3625)
    assert summary["mean_fpr_at_95_tpr"] == pytest.approx(0.275)
    assert [(c["class"], c["seed"]) for c in summary["cells"]] == list(AUROC)
    assert summary["cells"][0]["seconds"] == 1.5
    assert summary["commit"] == "c"
    assert summary["command"] == "ocgan benchmark"
    assert summary["data"]["checksum"] == {"all": "0"}
    assert summary["created"] == "2026-01-02"


def test_a_summary_names_the_first_and_the_last_day(tmp_path):
    write_grid(tmp_path)
    later = {"environment": {"machine": "m", "created": "2026-01-05T00:00:00Z"}}
    write_grid(tmp_path, {("b", 0): 0.7}, **later)
    assert summary_in(tmp_path)["created"] == "2026-01-02 to 2026-01-05"


def test_a_summary_names_every_environment_of_its_cells(tmp_path):
    write_grid(tmp_path, environment=ENVIRONMENT | {"torch": "2.1", "threads": 1})
    assert summary_in(tmp_path)["environment"] == {"machine": "m", "torch": "2.1", "threads": 1}
    other = ENVIRONMENT | {"machine": "n", "torch": "2.1", "threads": 2}
    write_grid(tmp_path, {("b", 0): 0.7}, environment=other)
    found = summary_in(tmp_path)["environment"]
    assert found == {"machine": "m, n", "torch": "2.1", "threads": "1, 2"}


def test_one_seed_has_no_deviation(tmp_path):
    summary = summary_in(write_grid(tmp_path), seeds=[1])
    assert (summary["mean"], summary["std"], summary["seeds"]) == (0.75, None, [1])


def test_a_seed_that_is_named_twice_counts_once(tmp_path):
    write_grid(tmp_path)
    assert summary_in(tmp_path, seeds=[1, 0, 1]) == summary_in(tmp_path)
    twice = summary_in(tmp_path, seeds=[0, 0])
    assert (twice["mean"], twice["std"], twice["seeds"]) == (0.7, None, [0])


@pytest.mark.parametrize("key", ["classes", "seeds"])
def test_no_class_and_no_seed_are_refused(tmp_path, key):
    with pytest.raises(UsageError, match=rf"^{key} = \[\] must name one or more"):
        summarise(write_grid(tmp_path), tmp_path / "results", **{key: []})


def test_chosen_classes_are_named(tmp_path):
    summary = summary_in(write_grid(tmp_path), classes=["b"])
    assert (summary["classes"], summary["mean"]) == (["b"], 0.6)
    assert summary_in(tmp_path, classes=["b", "a"])["classes"] == ["a", "b"]


@pytest.mark.parametrize("missing", list(AUROC))
def test_a_missing_cell_is_an_error_that_names_it(tmp_path, missing):
    write_grid(tmp_path, {key: value for key, value in AUROC.items() if key != missing})
    with pytest.raises(InputError, match="set/protocol1/knn/class-{}-seed{}.json".format(*missing)):
        summarise(tmp_path, tmp_path / "results")
    assert not (tmp_path / "results").exists()


def test_cells_of_different_settings_are_not_averaged(tmp_path):
    write_grid(tmp_path)
    write_grid(tmp_path, {("b", 1): 0.7}, config={"k": 6})
    with pytest.raises(InputError, match=r"class-b-seed1\.json has other config than .*a-seed0"):
        summarise(tmp_path, tmp_path / "results")


def test_it_does_not_matter_what_is_said_of_the_same_images(tmp_path):
    """In a zip file, or by another version, they are described otherwise."""
    otherwise = {"source": "d.zip", "description": "d.zip", "image_rule": "s"}
    write_grid(tmp_path)
    write_grid(tmp_path, {("b", 1): 0.7}, images=IMAGES | otherwise)
    assert summary_in(tmp_path)["data"] == IMAGES
    write_grid(tmp_path, {("b", 1): 0.7}, images=IMAGES | {"checksum": {"all": "1"}})
    with pytest.raises(InputError, match=r"class-b-seed1\.json has other images .* delete the"):
        summarise(tmp_path, tmp_path / "results")


def test_two_results_of_one_cell_are_not_mixed(tmp_path):
    write_grid(tmp_path / "a")
    write_grid(tmp_path / "b")
    with pytest.raises(InputError, match=r"a/.*b/.* are results of the same cell"):
        summarise(tmp_path, tmp_path / "results")


def test_one_method_can_be_summarised_alone(tmp_path):
    write_grid(tmp_path)
    (path,) = summarise(tmp_path / "set" / "protocol1" / "knn", tmp_path / "results")
    assert path == tmp_path / "results" / "set" / "protocol1" / "knn.json"


def test_a_folder_without_results_is_an_error(tmp_path):
    with pytest.raises(InputError, match="holds no results"):
        summarise(tmp_path, tmp_path / "results")


def test_the_command_summarises(tmp_path, capsys):
    out, tables = tmp_path / "out", tmp_path / "results"
    assert benchmark(out, "--protocol=1", "--seeds=0,1", method="knn") == 0
    capsys.readouterr()
    assert run(["benchmark", "summarise", str(out), f"--results={tables}"]) == 3
    assert "class-1-seed0.json is missing" in capsys.readouterr().err
    assert run(["benchmark", "summarise", str(out), f"--results={tables}", "--classes=0,8"]) == 0
    assert "mean AUROC" in capsys.readouterr().out
    summary = json.loads((tables / "digits" / "protocol1" / "knn.json").read_text())
    assert (summary["classes"], summary["seeds"], len(summary["cells"])) == (["0", "8"], [0, 1], 4)


# ---- methods -------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", [key for key in methods._TRAINING_FREE if key != "spy"])
def test_every_training_free_method_tells_zeros_from_other_digits(pools, key):
    (cell,) = cells_of(pools[2], other_method(key), classes=["0"])
    result, scores = cell.measure()
    assert result["auroc"] > 0.98
    assert scores.dtype == np.float64
    again = cell.method.make(0).fit(cell.trial.train_pixels)
    assert np.allclose(again.novelty_scores(cell.trial.test_pixels[:5]), scores[:5])
    assert json.loads(json.dumps(cell.method.config)) == cell.method.config


def test_names_say_what_differs_from_the_preset():
    grey, colour = ImageRule((28, 28), 1), ImageRule((32, 32), 3)
    assert ocgan("paper", {}, grey).name == "paper"
    assert ocgan("paper", {"stage": "ae"}, grey).name == "paper-ae"
    assert ocgan("paper", {"stage": "+visual", "image_size": 16}, grey).name == "paper-visual"
    assert ocgan("fast", {"epochs": 5}, colour).name == "fast-epochs5"
    assert ocgan("paper", {"latent_size": 16}, grey).name == "paper"
    assert ocgan("paper", {"latent_size": 16}, colour).name == "paper-latent_size16"
    assert ocgan("paper", {}, colour).config["latent_size"] == 512
    assert ocgan("paper", {"image_size": 16}, grey).title == "OCGAN (paper)"
    assert ocgan("default", {"scores": ["error"]}, grey).name == "default-scoreserror"
    large = ImageRule((64, 64), 3)
    assert ocgan("default", {"scores": ["error"]}, large).name == "default-scoreserror"
    scaled = ocgan("default", {"scores": ["error"], "score_scale": "surplus"}, grey)
    assert scaled.name == "default-scoreserror-score_scalesurplus"
    assert ocgan("default", {"score_weights": []}, grey).name == "default-score_weightsequal"
    few = ocgan("paper", {"stage": "+visual", "epochs": 15}, grey)
    assert few.name == "paper-visual-epochs15"
    assert few.title == "OCGAN (paper, stage +visual, epochs 15)"
    assert few.changes == {"stage": "+visual", "epochs": 15}
    assert not ocgan("paper", {"latent_size": 16}, grey).changes


def test_long_names_are_cut_and_stay_apart():
    many = {"noise_variance": 0.1, "test_noise_variance": 0.1, "reconstruction_weight": 5.5}
    many |= {"autoencoder_width": 5, "visual_width": 5, "classifier_width": 5, "epochs": 3}
    rule = ImageRule((28, 28), 1)
    names = [ocgan("fast", many | {"latent_size": size}, rule).name for size in (3, 4)]
    assert [len(name) for name in names] == [methods.LONGEST_NAME] * 2
    assert names[0] != names[1]
    assert names[0] == ocgan("fast", many | {"latent_size": 3}, rule).name


def test_times_are_written_as_clocks_show_them():
    written = [terminal.duration(seconds) for seconds in (None, 0, 9.6, 125, 3599.4, 3725)]
    assert written == ["unknown", "0:00", "0:10", "2:05", "59:59", "1:02:05"]


@pytest.mark.parametrize("width", [None, 80])
def test_a_table_shows_its_numbers_whatever_names_are_beside_them(width, monkeypatch, capsys):
    if width:
        monkeypatch.setattr(terminal, "Console", lambda **_: Console(width=width))
    name = "-".join(["autoencoder_width5"] * 16)
    terminal.table("title", ["set", "method", "AUROC"], [["digits", name, "0.9876"]])
    shown = capsys.readouterr().out
    assert "0.9876" in shown
    assert name in "".join(word for word in shown.split() if "_" in word or "-" in word)


@pytest.mark.parametrize("width", [40, 70, 80, 200])
def test_a_narrow_terminal_cuts_nothing_off(width, monkeypatch, capsys):
    """What does not fit stands below, in blocks of whole columns beside the methods' names."""
    monkeypatch.setattr(terminal, "Console", lambda **_: Console(width=width))
    methods = ["OCGAN", "5-NN, cosine, oriented gradients"]
    numbers = [[f"0.{row}{column:03d}" for column in range(13)] for row in (1, 2)]
    header = ["method", "FPR@95TPR", *(f"vs {digit}" for digit in range(12))]
    rows = [[name, *cells] for name, cells in zip(methods, numbers, strict=True)]
    terminal.table("title", header, rows)
    shown = capsys.readouterr().out
    assert shown.startswith("title\n")
    assert "…" not in shown
    blocks = [block.splitlines() for block in shown.removeprefix("title\n").split("\n\n")]
    assert len(blocks) == {40: 7, 70: 3, 80: 2, 200: 1}[width]
    for method, cells in zip(methods, numbers, strict=True):
        lines = [line for block in blocks for line in block if line.startswith(method[:5])]
        assert len(lines) == len(blocks)
        assert [word for line in lines for word in line.split() if word in cells] == cells
    assert all(len(line) <= width for block in blocks for line in block)
    assert "gradients" in blocks[-1][-1]


def test_unknown_and_missing_methods_are_one_line(tmp_path, capsys, monkeypatch):
    for chosen, words in [("knm", "did you mean 'knn'?"), (",", "is empty")]:
        assert benchmark(tmp_path, method=chosen) == 2
        assert words in capsys.readouterr().err
    monkeypatch.setattr(methods, "find_spec", lambda name: None)
    assert benchmark(tmp_path, method="pyod_deepsvdd") == 2
    assert "pip install 'pyocgan[pyod]'" in capsys.readouterr().err
    monkeypatch.setattr("pyocgan.benchmark.grid.find_spec", lambda name: None)
    assert benchmark(tmp_path, "--executor=ray") == 2
    assert "pip install 'pyocgan[ray]'" in capsys.readouterr().err
    assert not [*tmp_path.iterdir()]


def test_the_lines_of_the_help_text_are_filled(monkeypatch, capsys):
    """Docstrings break at 100 columns: in a terminal of 300 no sentence is broken."""
    monkeypatch.setattr(app, "_console", Console(width=300))  # it keeps what it had first
    assert run(["benchmark", "--help"]) == 0
    shown = capsys.readouterr().out
    assert "Several may work on the same folder at once, and none repeats another's work" in shown
    assert "repeat it for more than one." in shown
    assert "the seed draws them. 2: train on a class" in shown


@pytest.mark.parametrize(
    "flag", ["--jobs=0", "--seeds=-1", "--seeds=a", "--seeds=4294967296", "--classes=nine"]
)
def test_wrong_flags_are_usage_errors(tmp_path, flag):
    assert run(["benchmark", "--dataset=digits", "--method=knn", f"--out={tmp_path}", flag]) == 2


def test_protocol_2_needs_two_parts(tmp_path):
    images, labels = np.zeros((20, 8, 8), np.uint8), np.repeat(["a", "b"], 10)
    np.savez(tmp_path / "set.npz", X=images, y=labels)
    with pytest.raises(UsageError, match="--protocol 1"):
        open_pool(str(tmp_path / "set.npz"), 2)
    assert open_pool(str(tmp_path / "set.npz"), 1).name == "set"


def test_folders_are_named_whole_and_never_as_a_named_data_set(tmp_path):
    for name in ("photos.v1", "photos.v2", "mnist"):
        (tmp_path / name).mkdir()
    names = [pool_name(str(tmp_path / name)) for name in ("photos.v1", "photos.v2", "mnist")]
    assert names == ["photos.v1", "photos.v2", "mnist-folder"]
    assert pool_name("Fashion-MNIST") == "fashion_mnist"


def test_the_files_of_a_named_data_set_are_that_data_set(tmp_path, monkeypatch):
    write_idx(tmp_path / "mnist", "train")
    write_idx(tmp_path / "mnist", "t10k")
    assert pool_name(str(tmp_path / "mnist")) == "mnist"
    monkeypatch.chdir(tmp_path)  # where the name is a path, too
    assert pool_name("mnist") == "mnist"


def test_a_claim_that_cannot_be_read_is_not_taken_over(tmp_path, monkeypatch):
    path = tmp_path / "cell.json"

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    with claims.claimed(path):
        monkeypatch.setattr(Path, "read_text", refuse)
        monkeypatch.setattr(claims, "WRITING_SECONDS", 0.0)
        with pytest.raises(PermissionError):
            is_free(path)


def test_two_data_sets_of_one_name_are_refused(tmp_path, capsys):
    for folder in ("a", "b"):
        write_tree(tmp_path / folder / "train", ["x/0.png", "x/1.png", "y/0.png", "y/1.png"])
    flags = [f"--dataset={tmp_path / folder / 'train'}" for folder in ("a", "b")]
    out = f"--out={tmp_path / 'out'}"
    assert run(["benchmark", *flags, "--protocol=1", "--method=knn", out]) == 2
    assert "2 data sets are called 'train'" in capsys.readouterr().err


def test_images_without_classes_are_refused(tmp_path):
    write_tree(tmp_path / "plain", ["0.png", "1.png"])
    with pytest.raises(UsageError, match="has no classes to take turns"):
        open_pool(str(tmp_path / "plain"), 1)


def test_an_image_that_cannot_be_read_is_named_with_the_reason(tmp_path):
    write_tree(tmp_path, ["x/0.png", "x/1.png", "y/0.png", "y/1.png"])
    (tmp_path / "x" / "1.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"x/1\.png cannot be read: it is empty .*remove it$"):
        open_pool(str(tmp_path), 1)
    (tmp_path / "y" / "0.png").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"it is empty .* remove it and 1 more$") as caught:
        open_pool(str(tmp_path), 1)
    assert "--skip-unreadable" not in str(caught.value), "there is no such flag here"


def test_a_class_without_test_images_is_named(tmp_path):
    paths = ["train/x/0.png", "train/y/0.png", "train/z/0.png", "test/x/1.png", "test/y/1.png"]
    write_tree(tmp_path, paths)
    pool = open_pool(str(tmp_path), 2)
    assert pool.trial("x", 0).is_novel.tolist() == [False, True]
    with pytest.raises(UsageError, match="class z has no test images"):
        pool.trial("z", 0)


def test_class_words_are_good_for_files_and_unique():
    words = class_words(("T-shirt/top", "a b", "A-B", "..", "猫"))
    assert words["T-shirt/top"] == "T-shirt-top"
    assert words["猫"] == "猫"
    assert len({word.casefold() for word in words.values()}) == 5
    assert len(set(class_words(("1-a-b", "a b", "a-b")).values())) == 3


def test_provenance_names_commit_and_command(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/x/pyocgan/__main__.py", "benchmark", "--out", "my grid"])
    about = provenance()
    hexadecimal = about["commit"].removesuffix("-dirty")
    assert hexadecimal == "unknown" or len(hexadecimal) == 40
    assert about["command"] == "ocgan benchmark --out 'my grid'"


def test_a_cell_says_where_and_when_it_was_computed_itself(tmp_path, pools):
    before = origin.now()
    (outcome,) = run_cells(cells_of(pools[2], method(make_spy), classes=["8"]), tmp_path, ABOUT)
    here = outcome.result["environment"]
    assert here["machine"] == origin.machine()
    assert before <= here["created"] <= origin.now()


def test_a_stack_of_which_nothing_is_left_is_not_measured(tmp_path, pools, monkeypatch):
    cells = cells_of(pools[2], method(make_spy), classes=["0", "8"])
    monkeypatch.setattr(grid, "measure", None)
    with ExitStack() as held:
        for cell in cells:
            assert held.enter_context(claims.claimed(cell.path(tmp_path)))
        assert grid._compute(cells, tmp_path, ABOUT, False) == [(None, None)] * 2


def test_an_overwritten_result_never_stands_beside_other_scores(tmp_path, pools, monkeypatch):
    cells = cells_of(pools[2], method(make_spy), classes=["0"])
    list(run_cells(cells, tmp_path, ABOUT))

    def killed(path, content):
        raise KeyboardInterrupt

    monkeypatch.setattr("pyocgan.benchmark.cells.write_json", killed)
    path = cells[0].path(tmp_path)
    result = json.loads(path.read_text())
    with pytest.raises(KeyboardInterrupt):
        cells[0].write(path, result, read_scores(path)["score"] + 1)
    assert unfinished(cells, tmp_path) == cells


def test_kinds_of_defects_that_no_one_trains_on_have_figures_too(tmp_path, capsys):
    good = [f"train/good/{i}.png" for i in range(9)] + [f"test/good/{i}.png" for i in range(4)]
    bad = [f"test/{kind}/{i}.png" for kind in ("dent", "crack") for i in range(3)]
    write_tree(tmp_path / "parts", [*good, *bad])
    write_tree(tmp_path / "parts", [f"test/dent/{i}.png" for i in range(3)], size=(20, 20))
    flags = ["--method=knn", f"--out={tmp_path / 'out'}", "--classes=all"]
    assert run(["benchmark", f"--dataset={tmp_path / 'parts'}", *flags]) == 0
    (result,) = results(tmp_path / "out").values()
    assert list(result["auroc_by_class"]) == ["crack", "dent"]
    assert "20×20: all resized to 12×16" in capsys.readouterr().err


def test_where_nothing_can_be_written_nothing_is_read(tmp_path, capsys, monkeypatch):
    (tmp_path / "out").write_text("a file")
    monkeypatch.setattr("pyocgan.benchmark.open_pool", None)  # to call it would be another error
    flags = ["--protocol=1", "--method=knn", f"--out={tmp_path / 'out'}"]
    assert run(["benchmark", "--dataset=digits", *flags]) == 1
    assert "cannot write" in capsys.readouterr().err


def wait_for(condition, seconds=240):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_claim_that_another_has_made_since_is_not_given_back(tmp_path, monkeypatch):
    """As where somebody deletes the claim of a process that still works."""
    path = tmp_path / "cell.json"
    with claims.claimed(path) as mine:
        assert mine
        (tmp_path / "cell.claim0").unlink()
        holder = {**claims._holder(), "pid": os.getppid(), "started": claims._started(os.getppid())}
        (tmp_path / "cell.claim0").write_text(json.dumps(holder), encoding="utf-8")
    assert not is_free(path)
