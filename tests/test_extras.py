"""What the extras `ray` and `pyod` add to the benchmark; skipped where they are not installed."""

import os

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from conftest import ocgan, tiny_flags
from pyocgan.benchmark import open_pool, read_scores
from pyocgan.methods import other_method


def benchmark(out, *arguments, home):
    """Run the benchmark as a process of its own: Ray's workers live until their driver ends."""
    # Ray writes a token into the home folder and asks for statistics of its use.
    private = {"HOME": f"{home}", "RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
    flags = ["--dataset=digits", "--classes=0,8", "--seeds=0", "--jobs=2", f"--out={out}"]
    return ocgan("benchmark", *flags, *arguments, env=os.environ | private, timeout=240)


def scores(out):
    return {path.relative_to(out): read_scores(path)["score"] for path in out.rglob("*.json")}


def test_ray_computes_what_this_machine_alone_does(tmp_path):
    pytest.importorskip("ray")
    methods = ["--method=knn,iforest,ocgan", "--device=cpu", *tiny_flags()]
    for executor in ("local", "ray"):
        done = benchmark(tmp_path / executor, f"--executor={executor}", *methods, home=tmp_path)
        assert done.returncode == 0, done.stderr
    local, ray = scores(tmp_path / "local"), scores(tmp_path / "ray")
    assert local.keys() == ray.keys()
    assert len(local) == 2 * 3
    for name in local:
        assert np.array_equal(local[name], ray[name]), name


def test_a_cell_that_fails_on_ray_is_named_and_the_others_are_kept(tmp_path):
    pytest.importorskip("ray")
    blocked = tmp_path / "out" / "digits" / "protocol2" / "knn" / "class-0-seed0.npz"
    blocked.mkdir(parents=True)  # where the scores of the cell are to be written
    done = benchmark(tmp_path / "out", "--executor=ray", "--method=knn,pca", home=tmp_path)
    assert done.returncode == 1
    assert blocked.name in done.stderr
    assert "Traceback" not in done.stderr
    assert len(scores(tmp_path / "out")) == 3


@pytest.mark.parametrize("key", ["pyod_deepsvdd", "pyod_autoencoder"])
def test_networks_of_pyod_find_other_digits_and_take_their_seed(key):
    pytest.importorskip("pyod")
    method, trial = other_method(key), open_pool("digits", 2).trial("0", 0)
    fitted = [method.make(seed).fit(trial.train_pixels) for seed in (0, 0, 1)]
    first, again, other = (one.novelty_scores(trial.test_pixels) for one in fitted)
    assert np.allclose(first, again, rtol=1e-4)
    assert not np.allclose(first, other, rtol=1e-4)
    assert first.dtype == np.float64
    assert roc_auc_score(trial.test_labels != "0", first) > 0.95
