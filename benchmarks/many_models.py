"""Many small models: `fastbptt.fit_many` against what else trains them, for docs/many_models.md.

    python benchmarks/many_models.py                      # measures all sizes; writes the record
    python benchmarks/many_models.py --hidden 5 --models 100 --steps 5 --rounds 1   # prints only
    python benchmarks/many_models.py --from-record        # writes the page's table again

The shape of published cognitive models: a GRU (reset after) with 3 inputs, H units and 2 outputs in
float64, full batches of 100 sequences of 150 steps, cross-entropy at all steps, an L1 penalty on
the recurrent weights, AdamW. Needs PyTorch and JAX (`benchmarks/requirements.txt`). Both cores:

- fastbptt: `fit_many`, all models in one call, whatever it takes included.
- PyTorch: `nn.GRU`, one model after the other, with one thread and with two.
- jax.vmap: `lax.scan` over the steps, AdamW and all in one `jit`, mapped over a batch of models;
  one batch after the other, or two at a time in two threads.
- torch.func: a GRU written by hand, `vmap(grad_and_value(..))` over a batch of models, foreach
  AdamW written by hand, with one thread and with two.

Of a system with several ways the fastest counts. First all train the same models for some steps;
the losses must agree to 1e-8, else nothing is timed. Then each runs in turn, in rounds; a number is
the median of its rounds, in milliseconds for one model and step.
"""

from __future__ import annotations

import argparse
import datetime
import json
import re
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

import fastbptt
from fastbptt.config import info

ROOT = Path(__file__).resolve().parent.parent
RECORD, PAGE = (ROOT / "docs" / f"many_models.{end}" for end in ("json", "md"))
SIZES = (1, 2, 3, 5, 10, 20)
SEQUENCES, STEPS, INPUTS, OUTPUTS = 100, 150, 3, 2
LR, DECAY, L1 = 0.005, 0.01, 1e-3
BETAS, EPS = (0.9, 0.999), 1e-8
BATCHES = (32, 128)  # of models
MOST = 128  # at a time
CHECKED = 5  # steps of the comparison
SECONDS = 1.0  # of a round of the others
BEGIN, END = "<!-- measured -->", "<!-- end of measured -->"
TITLES = {
    "fastbptt": "`fit_many`",
    "PyTorch": "PyTorch",
    "jax.vmap": "`jax.vmap`",
    "torch.func": "torch vmap",
}

Run = Callable[[int], Any]  # so many steps of its models


def data() -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(SEQUENCES, STEPS, INPUTS))
    return x, (x[:, :, 0] + rng.normal(size=(SEQUENCES, STEPS)) > 0).astype(np.int64)


def make(hidden: int, k: int) -> Any:
    return fastbptt.GRU(INPUTS, hidden, OUTPUTS, dtype="float64", seed=k)


def stacked(hidden: int, models: int) -> dict[str, Any]:
    """The weights of some models, with an axis for these in front."""
    every = [make(hidden, k).parameters for k in range(models)]
    return {name: np.stack([one[name] for one in every]) for name in every[0]}


# ---------------------------------------------------------------- the systems


def ours(hidden: int, models: int) -> Run:
    x, y = data()

    def run(steps: int) -> list[float]:
        fits = fastbptt.fit_many(
            lambda k: make(hidden, k), x, y, count=models, keep="histories", loss="cross_entropy",
            steps="all", batch_size=SEQUENCES, epochs=steps, shuffle=False, l1={"W_hh": L1},
            optimizer=fastbptt.AdamW(LR, weight_decay=DECAY), verbose=0,
        )  # fmt: skip
        return [one.history["loss"][-1] for one in fits]

    return run


def pytorch(hidden: int, models: int, threads: int) -> Run:
    import torch
    from torch import nn

    x, y = (torch.tensor(one) for one in data())

    def network(k: int) -> tuple[Any, Any, Any]:
        ours = make(hidden, k).parameters
        gru = nn.GRU(INPUTS, hidden, batch_first=True, dtype=torch.float64)
        readout = nn.Linear(hidden, OUTPUTS, dtype=torch.float64)
        with torch.no_grad():
            gru.weight_ih_l0.copy_(torch.tensor(ours["W_xh"].T))
            gru.weight_hh_l0.copy_(torch.tensor(ours["W_hh"].T))
            gru.bias_ih_l0.copy_(torch.tensor(ours["b_h"]))
            gru.bias_hh_l0.zero_()
            gru.bias_hh_l0[2 * hidden :] = torch.tensor(ours["b_hn"])
            readout.weight.copy_(torch.tensor(ours["W_hy"].T))
            readout.bias.copy_(torch.tensor(ours["b_y"]))
        # two of its second biases add nothing to the first: with them, steps would be larger
        mask = torch.cat([torch.zeros(2 * hidden), torch.ones(hidden)]).double()
        gru.bias_hh_l0.register_hook(lambda gradient: gradient * mask)
        every = [*gru.parameters(), *readout.parameters()]
        return gru, readout, torch.optim.AdamW(every, lr=LR, weight_decay=DECAY, foreach=True)

    def run(steps: int) -> list[float]:
        torch.set_num_threads(threads)
        found = []
        for k in range(models):
            gru, readout, adam = network(k)
            for _ in range(steps):
                outputs = readout(gru(x)[0])
                loss = nn.functional.cross_entropy(outputs.flatten(0, 1), y.flatten())
                (loss + L1 * gru.weight_hh_l0.abs().sum()).backward()
                adam.step()
                adam.zero_grad()
            found.append(float(loss.detach()))
        return found

    return run


def jax_vmap(hidden: int, models: int, streams: int) -> Run:
    import jax

    jax.config.update("jax_enable_x64", True)
    import jax.numpy as jnp

    x, y = data()
    over_time, targets = jnp.asarray(x.swapaxes(0, 1)), jnp.asarray(y.T)

    def objective(p: Any) -> Any:
        def step(h: Any, z: Any) -> Any:
            x_r, x_z, x_n = jnp.split(z, 3, axis=-1)
            h_r, h_z, h_n = jnp.split(h @ p["W_hh"], 3, axis=-1)
            n = jnp.tanh(x_n + jax.nn.sigmoid(x_r + h_r) * (h_n + p["b_hn"]))
            h = n + jax.nn.sigmoid(x_z + h_z) * (h - n)
            return h, h

        first = jnp.zeros((SEQUENCES, hidden))
        _, states = jax.lax.scan(step, first, over_time @ p["W_xh"] + p["b_h"])
        log = jax.nn.log_softmax(states @ p["W_hy"] + p["b_y"])
        loss = -jnp.take_along_axis(log, targets[..., None], axis=-1).mean()
        return loss + L1 * jnp.abs(p["W_hh"]).sum(), loss

    def update(p: Any, m: Any, v: Any, t: Any) -> Any:
        (_, loss), g = jax.value_and_grad(objective, has_aux=True)(p)
        m = {n: BETAS[0] * m[n] + (1 - BETAS[0]) * g[n] for n in p}
        v = {n: BETAS[1] * v[n] + (1 - BETAS[1]) * g[n] ** 2 for n in p}
        one, two = 1 - BETAS[0] ** t, 1 - BETAS[1] ** t
        p = {n: p[n] * (1 - LR * DECAY) - LR * m[n] / one / (jnp.sqrt(v[n] / two) + EPS) for n in p}
        return p, m, v, loss

    mapped = jax.jit(jax.vmap(update, in_axes=(0, 0, 0, None)), donate_argnums=(0, 1, 2))
    begin = stacked(hidden, models)

    def one_batch(steps: int) -> Any:
        p = {name: jnp.array(values) for name, values in begin.items()}
        m, v = ({name: jnp.zeros_like(values) for name, values in p.items()} for _ in range(2))
        for t in range(1, steps + 1):
            p, m, v, loss = mapped(p, m, v, float(t))
        return np.asarray(loss).tolist()

    def run(steps: int) -> list[float]:
        if streams == 1:
            return list(one_batch(steps))
        with ThreadPoolExecutor(streams) as pool:
            parts = list(pool.map(one_batch, [steps] * streams))
        return [loss for part in parts for loss in part]

    return run


def torch_func(hidden: int, models: int, threads: int) -> Run:
    import torch
    from torch.func import grad_and_value, vmap

    x, y = (torch.tensor(one) for one in data())
    targets = y.flatten()

    def objective(p: Any) -> Any:
        inputs = (x @ p["W_xh"] + p["b_h"]).unbind(1)
        h = torch.zeros(SEQUENCES, hidden, dtype=torch.float64)
        states = []
        for z in inputs:
            x_r, x_z, x_n = z.split(hidden, dim=-1)
            h_r, h_z, h_n = (h @ p["W_hh"]).split(hidden, dim=-1)
            n = torch.tanh(x_n + torch.sigmoid(x_r + h_r) * (h_n + p["b_hn"]))
            h = n + torch.sigmoid(x_z + h_z) * (h - n)
            states.append(h)
        outputs = torch.stack(states, 1) @ p["W_hy"] + p["b_y"]
        loss = torch.nn.functional.cross_entropy(outputs.flatten(0, 1), targets)
        return loss + L1 * p["W_hh"].abs().sum(), loss

    mapped = vmap(grad_and_value(objective, has_aux=True))
    begin = stacked(hidden, models)

    def run(steps: int) -> list[float]:
        torch.set_num_threads(threads)
        p = {name: torch.tensor(values) for name, values in begin.items()}
        m, v = ({name: torch.zeros_like(values) for name, values in p.items()} for _ in range(2))
        names = list(p)
        values, first, second = ([part[name] for name in names] for part in (p, m, v))
        for t in range(1, steps + 1):
            g, (_, loss) = mapped(p)
            gradients = [g[name] for name in names]
            torch._foreach_mul_(first, BETAS[0])
            torch._foreach_add_(first, gradients, alpha=1 - BETAS[0])
            torch._foreach_mul_(second, BETAS[1])
            torch._foreach_addcmul_(second, gradients, gradients, 1 - BETAS[1])
            torch._foreach_mul_(values, 1 - LR * DECAY)
            below = torch._foreach_div(second, 1 - BETAS[1] ** t)
            torch._foreach_sqrt_(below)
            torch._foreach_add_(below, EPS)
            torch._foreach_addcdiv_(values, first, below, -LR / (1 - BETAS[0] ** t))
        return list(loss.tolist())

    return run


# ---------------------------------------------------------------- measuring


def ways(hidden: int) -> dict[str, list[tuple[str, int, Run]]]:
    """List the ways of each other system: a description, the models of a run, the run."""
    found: dict[str, list[tuple[str, int, Run]]] = {"PyTorch": [], "jax.vmap": [], "torch.func": []}
    for threads in (1, 2):
        label = f"{threads} thread" + "s" * (threads > 1)
        found["PyTorch"].append((label, 2, pytorch(hidden, 2, threads)))
        for models in BATCHES:
            one = f"{models} models, {label}"
            if models * threads <= MOST:
                found["jax.vmap"].append((one, models * threads, jax_vmap(hidden, models, threads)))
            found["torch.func"].append((one, models, torch_func(hidden, models, threads)))
    return found


def check(hidden: int) -> float:
    """Compare the losses of all systems after some steps; return the largest difference."""
    wanted = ours(hidden, 2)(CHECKED)
    others = [pytorch(hidden, 2, 1), jax_vmap(hidden, 2, 1), torch_func(hidden, 2, 1)]
    most = max(np.abs(np.subtract(run(CHECKED), wanted)).max() for run in others)
    if not most < 1e-8:
        raise SystemExit(f"the losses differ by {most:.1e}; expected less than 1e-8")
    return float(most)


def timed(run: Run, models: int, steps: int) -> float:
    """Return milliseconds for one model and step."""
    start = time.perf_counter()
    run(steps)
    return 1e3 * (time.perf_counter() - start) / (models * steps)


def measure(hidden: int, models: int, steps: int, rounds: int) -> dict[str, Any]:
    agree = check(hidden)
    chosen: dict[str, tuple[str, int, Run, int]] = {}
    for system, every in ways(hidden).items():
        best = float("inf")
        for label, count, run in every:
            timed(run, count, 1)  # compiles
            found = timed(run, count, 1)
            if found < best:
                best = found
                number = max(1, min(steps, round(1e3 * SECONDS / (found * count))))
                chosen[system] = label, count, run, number
    times: dict[str, list[float]] = {"fastbptt": [], **{system: [] for system in chosen}}
    all_models = ours(hidden, models)
    for _ in range(rounds):
        times["fastbptt"].append(timed(all_models, models, steps))
        for system, (_, count, run, number) in chosen.items():
            times[system].append(timed(run, count, number))
    return {
        "hidden": hidden,
        "models": models,
        "steps": steps,
        "difference": agree,
        "milliseconds": {system: statistics.median(found) for system, found in times.items()},
        "ways": {system: label for system, (label, *_) in chosen.items()},
    }


# ---------------------------------------------------------------- the page


def ratios(case: dict[str, Any]) -> tuple[float, float]:
    """Return how many times our time PyTorch takes, and the faster of the two that map."""
    found = case["milliseconds"]
    faster = min(found["jax.vmap"], found["torch.func"])
    return found["PyTorch"] / found["fastbptt"], faster / found["fastbptt"]


def table(record: dict[str, Any]) -> str:
    """Return the page's table."""
    lines = [
        "| units | "
        + " | ".join(TITLES.values())
        + " | PyTorch / `fit_many` | best map / `fit_many` |",
        "|--:|" + "--:|" * (len(TITLES) + 2),
    ]
    for case in record["cases"]:
        numbers = " | ".join(f"{case['milliseconds'][system]:.3g} ms" for system in TITLES)
        one, other = ratios(case)
        lines.append(f"| {case['hidden']} | {numbers} | {one:.1f}x | {other:.1f}x |")
    machine = record["machine"]
    lines += [
        "",
        f"{record['cases'][0]['models']:,} models, {machine['cores']} cores, "
        f"{machine['processor']} ({machine['active']}), {record['date']}.",
    ]
    return "\n".join(lines)


def page(record: dict[str, Any], text: str) -> str:
    """Put the table into the page's text."""
    pattern = re.compile(f"{re.escape(BEGIN)}.*{re.escape(END)}", re.DOTALL)
    return pattern.sub(lambda _: f"{BEGIN}\n\n{table(record)}\n\n{END}", text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--hidden", type=int, nargs="+", help="only these sizes")
    parser.add_argument("--models", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=20, help="of each model")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--from-record", action="store_true")
    parser.add_argument("--record", action="store_true", help="with --hidden: record these sizes")
    args = parser.parse_args()
    record = json.loads(RECORD.read_text("utf-8")) if RECORD.exists() else {"cases": []}
    if not args.from_record:
        found = []
        for hidden in args.hidden or SIZES:
            case = measure(hidden, args.models, args.steps, args.rounds)
            found.append(case)
            print(json.dumps(case), "{:.1f}x, {:.1f}x".format(*ratios(case)), flush=True)
        if args.hidden and not args.record:
            return
        facts = info()
        kept = [one for one in record["cases"] if one["hidden"] not in {c["hidden"] for c in found}]
        record = {
            "date": datetime.date.today().isoformat(),
            "machine": {name: facts[name] for name in ("processor", "active", "cores")},
            "cases": sorted([*kept, *found], key=lambda one: one["hidden"]),
        }
        RECORD.write_text(json.dumps(record, indent=1) + "\n", "utf-8")
    PAGE.write_text(page(record, PAGE.read_text("utf-8")), "utf-8")


if __name__ == "__main__":
    main()
