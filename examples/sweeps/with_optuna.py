"""A search with Optuna in threads: trials that promise little are pruned.

    python examples/sweeps/with_optuna.py --trials 100
    python examples/sweeps/with_optuna.py --quick

The study is kept in results/study.log, under a name with the epochs and a digest of trials.py, an
append-only file that several processes, also of several
machines with a common file system, may use at the same time. Started again, it goes on.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import optuna
import trials
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

import fastbptt

ENDED = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED)


class Pruning(fastbptt.Callback):
    """Reports a curve of every epoch to a trial, and ends the trial if Optuna prunes it."""

    def __init__(self, trial: optuna.Trial, curve: str) -> None:
        self.trial = trial
        self.curve = curve

    def on_epoch_end(self, run: fastbptt.TrainingRun) -> None:
        self.trial.report(run.history[self.curve][-1], run.epoch)
        if self.trial.should_prune():
            raise optuna.TrialPruned


def objective(trial: optuna.Trial, epochs: int = 100) -> float:
    """Train one trial; return what is to be minimised."""
    setting = {
        "person": 0,
        "hidden": trial.suggest_int("hidden", 1, 8),
        "l1": trial.suggest_float("l1", 1e-5, 1e-1, log=True),
        "lr": trial.suggest_float("lr", 1e-3, 1e-1, log=True),
        "seed": 0,
        "epochs": epochs,
    }
    try:
        _, history = trials.fit(setting, callbacks=[Pruning(trial, "validation_loss")])
    except fastbptt.ArgumentError as error:  # diverged
        trial.set_user_attr("error", str(error))
        raise optuna.TrialPruned from error
    return min(history["validation_loss"])


def search(folder: str, count: int, workers: int, epochs: int) -> optuna.Study:
    """Bring a study to a number of trials that ended."""
    fastbptt.set_num_threads(max(1, fastbptt.get_num_threads() // workers))  # of one call
    study = optuna.create_study(
        study_name=f"choices-{epochs}-{trials.code()}",  # of other settings or code: another
        direction="minimize",  # as "validation_loss", which Pruning reports
        storage=JournalStorage(JournalFileBackend(str(Path(folder, "study.log")))),
        load_if_exists=True,
        # without a seed: with one, a study that goes on would draw its first trials again
        sampler=optuna.samplers.TPESampler(),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=10),
    )
    ended = len(study.get_trials(deepcopy=False, states=ENDED))
    if ended < count:
        study.optimize(
            lambda one: objective(one, epochs),
            n_trials=count - ended,
            n_jobs=workers,
            callbacks=[optuna.study.MaxTrialsCallback(count, states=ENDED)],  # of all processes
        )
    return study


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, help="of the study (default 50)")
    options = trials.arguments(parser, argv)
    if options.quick and options.trials is not None:
        parser.error("--trials is given with --quick, which has 8; expected one of the options")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    count, epochs = (
        (8, 5) if options.quick else (50 if options.trials is None else options.trials, 100)
    )
    study = search(options.results, count, options.workers, epochs)
    pruned = sum(one.state == optuna.trial.TrialState.PRUNED for one in study.trials)
    chosen = ", ".join(f"{name} {value:.3g}" for name, value in study.best_params.items())
    print(f"{len(study.trials)} trials, {pruned} of them pruned")
    print(f"best: loss {study.best_value:.4f} with {chosen}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
