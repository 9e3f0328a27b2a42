"""The sweeps of examples/sweeps: files of trials, kills, threads, and every engine's table."""

from __future__ import annotations

import json
import os
import pickle
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastbptt

FOLDER = Path(__file__).parents[2] / "examples" / "sweeps"
QUICK = ("--quick", "--workers", "2")


@pytest.fixture
def trials(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.syspath_prepend(str(FOLDER))
    import trials as module

    yield module
    sys.modules.pop("trials")


def environment(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_")}
    return {**kept, "PYTHON": sys.executable, **more}


def program(*command: str, code: int = 0, **more: str) -> str:
    """Run a program of the folder; return what it printed."""
    name, *options = command
    call = [sys.executable, str(FOLDER / name), *options]
    if name.endswith(".sh"):
        call = ["bash", str(FOLDER / name), *options]
    done = subprocess.run(
        call, env=environment(**more), capture_output=True, text=True, timeout=170, check=False
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


# ----------------------------------------------------------------- files of trials


def test_a_trial_that_is_done_is_not_trained_again(
    trials: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Any] = []
    monkeypatch.setattr(trials, "train", lambda one: calls.append(one) or {"loss": 1.0})
    every = trials.settings(quick=True)
    assert trials.run_all(every[:3], tmp_path) == 3 and calls == every[:3]
    assert [one for part in trials.parts(every, tmp_path, 2) for one in part] == every[3:]
    trials.run_all(every, tmp_path)
    assert calls == every and trials.parts(every, tmp_path, 2) == []
    assert [
        {name: row[name] for name in every[0]} for row in trials.table(every, tmp_path)
    ] == every
    assert len(list(tmp_path.iterdir())) == len(every)


def test_every_setting_has_a_file_of_its_own(trials: Any) -> None:
    every = trials.settings()
    assert len({trials.file_of(one, "") for one in every}) == len(every)
    turned = dict(reversed(every[0].items()))
    assert trials.file_of(turned, "") == trials.file_of(every[0], "")


def test_results_of_other_code_are_refused(
    trials: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setting = trials.settings(quick=True)[0]
    trials.run(setting, tmp_path)
    monkeypatch.setattr(trials, "code", lambda: "other")
    for call in (lambda: trials.run(setting, tmp_path), lambda: trials.table([setting], tmp_path)):
        with pytest.raises(
            ValueError, match=r"comes from another trials\.py or fastbptt; expected"
        ):
            call()


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", "null"])
def test_a_file_without_a_result_is_named(trials: Any, tmp_path: Path, content: str) -> None:
    setting = trials.settings(quick=True)[0]
    path = trials.file_of(setting, tmp_path)
    path.write_text(content)
    with pytest.raises(ValueError, match=r"\.json holds no result; delete it, and"):
        trials.run(setting, tmp_path)
    path.unlink()  # after the advice
    assert trials.run(setting, tmp_path)["loss"] > 0
    assert [one.name for one in tmp_path.iterdir()] == [path.name]


def test_a_trial_that_fails_is_named_and_the_others_go_on(
    trials: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    true = trials.person

    def person(number: int) -> Any:
        x, y = true(number)
        x = x.copy()
        x[3, 7, 1] = np.nan if number == 1 else x[3, 7, 1]
        return x, y

    monkeypatch.setattr(trials, "person", person)
    every = trials.settings(quick=True)
    trials.run_all(every, tmp_path)
    failed = [row for row in trials.table(every, tmp_path) if "error" in row]
    assert {row["person"] for row in failed} == {1} and len(failed) == len(every) // 2
    assert "x holds a value that is not finite (nan) at index (3, 7, 1)" in failed[0]["error"]
    assert trials.report(every, tmp_path) == 1
    assert "failed: {'person': 1, 'hidden': 1, " in capsys.readouterr().err


def test_a_full_disk_leaves_what_was_finished(
    trials: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    every = trials.settings(quick=True)
    trials.run(every[0], tmp_path)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            trials.run(every[1], tmp_path)
    assert trials.table(every, tmp_path) == [trials.run(every[0], tmp_path)]
    trials.run(every[1], tmp_path)
    assert len(trials.table(every, tmp_path)) == 2


@pytest.mark.parametrize("backend", ["threading", pytest.param("loky", marks=pytest.mark.slow)])
def test_a_sweep_that_is_killed_ends_with_the_same_table(
    trials: Any, tmp_path: Path, backend: str
) -> None:
    """SIGKILL at random moments, also while files are written, until the sweep ends by itself."""
    pytest.importorskip("joblib")
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir()
    every = trials.settings(quick=True)
    options = [*QUICK, "--backend", backend, "--results"]
    begun = time.monotonic()
    program("with_joblib.py", *options, str(whole))
    limit, kills = (time.monotonic() - begun) / 8, 0
    command = [sys.executable, str(FOLDER / "with_joblib.py"), *options, str(killed)]
    moments = random.Random(0)
    while True:
        with subprocess.Popen(
            command, start_new_session=True, stdout=subprocess.DEVNULL
        ) as process:
            try:
                assert process.wait(moments.uniform(0.5, 1.0) * limit) == 0
                break
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                kills += 1
        limit *= 1.3  # so that it ends on a slow machine, too
        for path in killed.glob("*.json"):
            json.loads(path.read_text())
    assert kills > 0
    assert trials.table(every, killed) == trials.table(every, whole)


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_models_pickle_with_little_beside_their_weights(cell: str) -> None:
    """Sizes, for a time is no test; docs/sweeps.md has the milliseconds."""
    for hidden in (1, 20, 128):
        model = fastbptt.Recurrent(cell, 3, hidden, 2, seed=0)
        data = pickle.dumps(model)
        weights = sum(one.nbytes for one in model.parameters.values())
        assert len(data) < 1.1 * weights + 4096
        x = np.ones((1, 4, 3), np.float32)
        assert np.array_equal(fastbptt.predict(pickle.loads(data), x), fastbptt.predict(model, x))


# ----------------------------------------------------------------- SLURM


def test_the_script_of_slurm_is_well_formed() -> None:
    subprocess.run(["bash", "-n", str(FOLDER / "slurm.sh")], check=True)
    lines = (FOLDER / "slurm.sh").read_text().splitlines()
    options = [line for line in lines if line.startswith("#SBATCH")]
    assert lines[0] == "#!/bin/bash" and lines[1 : 1 + len(options)] == options
    assert "#SBATCH --array=0-99" in options  # begins with 0


def slurm(task: int | str, count: int = 3, **more: str) -> dict[str, str]:
    place = str(FOLDER.parents[1])
    return {
        "SLURM_ARRAY_TASK_ID": str(task),
        "SLURM_ARRAY_TASK_COUNT": str(count),
        "SLURM_CPUS_PER_TASK": "1",
        "SLURM_SUBMIT_DIR": place,
        **more,
    }


def test_jobs_of_an_array_divide_the_trials(trials: Any, tmp_path: Path) -> None:
    every = trials.settings(quick=True)
    for task in (2, 0, 1, 1):
        printed = program("slurm.sh", "--quick", "--results", str(tmp_path), **slurm(task))
        assert f"job {task} of 3: {len(every[task::3])} trials are done" in printed
    table = program("with_slurm.py", "--quick", "--table", "--results", str(tmp_path))
    assert table.count("| 2 |") == 2 + 4  # two rows of 2 units, four rows of 2 trials
    assert len(trials.table(every, tmp_path)) == len(every)


def test_jobs_that_are_no_array_are_refused(tmp_path: Path) -> None:
    options = ("with_slurm.py", "--quick", "--results", str(tmp_path))
    assert "SLURM_ARRAY_TASK_ID is ''; expected a number" in program(*options, code=1)
    assert "is 3 of 3; expected --array=0-2" in program(*options, code=1, **slurm(3))
    assert "8 of 8 trials are left" in program(*options, "--table", code=1)
    assert "unrecognized arguments: --workers" in program(*options, "--workers", "2", code=2)


def test_a_job_uses_its_processors_and_no_more(tmp_path: Path) -> None:
    own = tmp_path / "threads.py"
    own.write_text("import fastbptt\nprint('threads', fastbptt.get_num_threads())\n")
    for count in ("1", "3"):
        more = slurm(0, SLURM_CPUS_PER_TASK=count, SWEEP=str(own))
        assert f"threads {count}" in program("slurm.sh", **more)


# ----------------------------------------------------------------- engines

ENGINES = [
    ("joblib", "with_joblib.py"),
    ("joblib", "with_joblib.py", "--backend", "threading"),
    ("distributed", "with_dask.py"),
    ("distributed", "with_dask.py", "--way", "joblib"),
    ("ray", "with_ray.py"),
    ("ray", "with_ray.py", "--way", "joblib"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("package", "command"), [(one[0], one[1:]) for one in ENGINES], ids=str)
def test_every_engine_has_the_table_of_a_loop(
    trials: Any, tmp_path: Path, package: str, command: tuple[str, ...]
) -> None:
    pytest.importorskip(package)
    every = trials.settings(quick=True)
    done = [trials.run(one, tmp_path) for one in every[::3]]  # goes on after these
    times = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    program(*command, *QUICK, "--results", str(tmp_path))
    assert {path: path.stat().st_mtime_ns for path in times} == times
    rows = trials.table(every, tmp_path)
    assert rows[::3] == done
    assert [{**one, **trials.train(one), "code": trials.code()} for one in every] == rows


@pytest.mark.slow
def test_optuna_prunes_and_goes_on(tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    printed = program("with_optuna.py", *QUICK, "--results", str(tmp_path))
    assert printed.startswith("8 trials, ")
    before = (tmp_path / "study.log").read_bytes()
    again = program("with_optuna.py", *QUICK, "--results", str(tmp_path))
    assert again == printed  # it has as many trials as are asked for
    assert (tmp_path / "study.log").read_bytes().startswith(before)


def test_pruning_reports_every_epoch_and_ends_the_trial(
    trials: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    optuna = pytest.importorskip("optuna")
    import with_optuna

    class Third(optuna.pruners.BasePruner):
        def prune(self, study: Any, trial: Any) -> bool:
            return bool(trial.number == 1 and trial.last_step == 3)

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(pruner=Third())
    study.optimize(lambda one: with_optuna.objective(one, 5), n_trials=2)
    whole, pruned = study.trials
    assert whole.state.name == "COMPLETE" and list(whole.intermediate_values) == [1, 2, 3, 4, 5]
    assert whole.value == min(whole.intermediate_values.values())
    assert pruned.state.name == "PRUNED" and list(pruned.intermediate_values) == [1, 2, 3]
    sys.modules.pop("with_optuna")


THREADS = {
    "joblib": """
import joblib
found = joblib.Parallel(n_jobs=2)(joblib.delayed(fastbptt.get_num_threads)() for _ in range(8))
expected = max(1, joblib.cpu_count() // 2)
""",
    "distributed": """
import with_dask
client = with_dask.connect(None, 2)
found, expected = client.run(fastbptt.get_num_threads).values(), 1
client.cluster.close()
client.close()
""",
    "ray": """
import ray, with_ray
with_ray.connect(None, 2)
found, expected = ray.get([ray.remote(fastbptt.get_num_threads).remote() for _ in range(4)]), 1
""",
}


@pytest.mark.slow
@pytest.mark.parametrize("package", THREADS)
def test_threads_do_not_multiply(package: str, tmp_path: Path) -> None:
    """Every worker process has its part of the processors, before anybody calls fastbptt."""
    pytest.importorskip(package)
    own = tmp_path / "threads.py"
    code = f"import sys\nsys.path.insert(0, {str(FOLDER)!r})\nimport fastbptt\n{THREADS[package]}"
    body = "\n".join("    " + line for line in code.splitlines())
    own.write_text(
        f"if __name__ == '__main__':\n{body}\n    assert set(found) == {{expected}}, found\n"
    )
    more = {name: value for name, value in environment().items() if name != "OMP_NUM_THREADS"}
    command = [sys.executable, str(own)]
    done = subprocess.run(command, env=more, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
