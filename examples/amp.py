"""A guitar amplifier learned from a pair of recordings, for plug-ins.

    python examples/amp.py                                   # a made-up amplifier
    python examples/amp.py --quick                           # a few seconds of it
    python examples/amp.py --dry guitar.wav --wet amp.wav    # yours: what went in, what came out

The program trains a network of 8 to 40 units as guitarists do, and writes amp.json, for RTNeural
and AIDA-X, and from an LSTM amp.nam, for Neural Amp Modeler. The recipe is that of CoreAudioML
(A. Wright, E.-P. Damskaegg, L. Juvela, V. Valimaki, Real-time guitar amplifier emulation with deep
learning, Applied Sciences 10, 2020, and github.com/Alec-Wright/CoreAudioML):

- The recording is cut into segments of half a second, 50 to a batch. The first 200 samples of a
  batch only warm the state up. Then there is an update every 1000 samples, and the state is carried
  from one to the next: truncated backpropagation through time.
- The output is the readout plus the input, a skip connection.
- The loss is 0.75 times the error-to-signal ratio after the pre-emphasis y[t] - 0.85 y[t-1], plus
  0.25 times the error of the mean (DC).
- Adam, with rate 5e-3 and weight decay 1e-4. The rate is halved when five validations in a row,
  one every second epoch, were no better; after 25 of them training stops.

Both recordings are mono .wav files of one rate: 16, 24 or 32 bits, or float. Their first 80 % train
the network, the next 10 % choose the epoch, and the last 10 % are the test.
"""

from __future__ import annotations

import argparse
import struct
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

import fastbptt
from fastbptt.interchange import to_nam, to_rtneural

RATE = 44100
WARMUP, UPDATE, BATCH = 200, 1000, 50
EMPHASIS, EPS = 0.85, 1e-5
LR, DECAY = 5e-3, 1e-4
VALIDATE, HALVE, PATIENCE = 2, 5, 25  # epochs; validations; validations

Array = np.ndarray


class Pair(NamedTuple):
    """The guitar, and what the amplifier makes of it: float32, (samples,)."""

    dry: Array
    wet: Array


# ---------------------------------------------------------------- a made-up amplifier


def pluck(rng: np.random.Generator, pitch: float, seconds: float) -> Array:
    """Play one note (K. Karplus, A. Strong, Computer Music Journal 7, 1983)."""
    period = round(RATE / pitch)
    string = rng.uniform(-1, 1, period)
    rounds = []
    for _ in range(max(int(seconds * pitch), 1)):
        rounds.append(string)
        string = 0.498 * (string + np.roll(string, -1))
    return np.concatenate(rounds)


def guitar(seconds: float, seed: int = 0) -> Array:
    """Play notes, fifths and pauses, loud and soft."""
    rng = np.random.default_rng(seed)
    played = np.zeros(int(seconds * RATE) + 4 * RATE)
    at = 0.0
    while at < seconds:
        root = 82.41 * 2 ** (rng.integers(0, 30) / 12)
        loudness, length = rng.uniform(0.1, 1.0), rng.uniform(0.3, 2.0)
        for factor in (1, 1.5, 2)[: rng.integers(1, 4)]:
            note = loudness * pluck(rng, root * factor, length)
            played[int(at * RATE) :][: len(note)] += note[: len(played) - int(at * RATE)]
        at += rng.choice([0.15, 0.3, 0.6])
    played = played[: int(seconds * RATE)]
    return (0.9 * played / np.abs(played).max()).astype(np.float32)


def low_pass(x: Array, hertz: float) -> Array:
    """Filter with one pole, y[t] = a y[t-1] + (1 - a) x[t]: the sum is doubled until a^n is 0."""
    a = np.exp(-2 * np.pi * hertz / RATE)
    y, step = (1 - a) * x, 1
    while a**step > 1e-9 and step < len(y):
        y[step:] += a**step * y[:-step]
        step *= 2
    return y


def amplifier(dry: Array) -> Array:
    """Distort: a valve stage that sags when it is played loud, between filters."""
    x = dry.astype(np.float64)
    x -= low_pass(x, 120)
    gain = 12 / (1 + 6 * low_pass(np.abs(x), 8))  # the supply's voltage takes time to recover
    y = np.tanh(gain * x + 0.3) - np.tanh(0.3)  # not symmetric
    y = low_pass(low_pass(y, 5000), 5000)
    y -= low_pass(y, 70)
    return (0.6 * y).astype(np.float32)


# ---------------------------------------------------------------- recordings


def read_wav(path: Path) -> tuple[Array, int]:
    """Read a mono .wav file; return the samples, from -1 to 1, and the rate."""
    content = path.read_bytes()
    if content[:4] != b"RIFF" or content[8:12] != b"WAVE":
        raise ValueError(f"{path} is no .wav file")
    layout, at = None, 12
    while at + 8 <= len(content):
        name, size = struct.unpack_from("<4sI", content, at)
        body = content[at + 8 : at + 8 + size]
        if name == b"fmt " and len(body) >= 16:
            kind, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", body)
            if kind == 0xFFFE and len(body) >= 26:  # extensible: the kind follows
                kind = struct.unpack_from("<H", body, 24)[0]
            layout = kind, channels, rate, bits
        elif name == b"data" and layout is not None:
            return samples(body, *layout, path), layout[2]
        at += 8 + size + size % 2
    raise ValueError(f"{path} has no samples; expected chunks fmt and data")


def samples(body: bytes, kind: int, channels: int, rate: int, bits: int, path: Path) -> Array:
    """Turn the data of a .wav file into numbers."""
    if channels != 1 or rate < 1:
        raise ValueError(f"{path} has {channels} channels at {rate} Hz; expected one: mono")
    if (kind, bits) == (1, 24):
        whole = np.frombuffer(body[: len(body) // 3 * 3], np.uint8).reshape(-1, 3)
        wide = np.zeros((len(whole), 4), np.uint8)
        wide[:, 1:] = whole  # the upper three bytes of 32 bits
        found = wide.view("<i4")[:, 0] / 2.0**31
    elif (kind, bits) in {(1, 16), (1, 32), (3, 32), (3, 64)}:
        dtype = np.dtype(f"<{'i' if kind == 1 else 'f'}{bits // 8}")
        found = np.frombuffer(body[: len(body) // dtype.itemsize * dtype.itemsize], dtype)
        found = found / 2.0 ** (bits - 1) if kind == 1 else found
    else:
        raise ValueError(f"{path} has format {kind} with {bits} bits; expected PCM or float")
    if not np.isfinite(found).all():
        raise ValueError(f"{path} holds NaN or infinity")
    return found.astype(np.float32)


def delay_of(pair: Pair) -> int:
    """Estimate how many samples the wet recording is late, by cross-correlation."""
    size = min(len(pair.dry), 1 << 19)
    dry, wet = (np.fft.rfft(one[:size], 2 * size) for one in pair)
    both = np.fft.irfft(wet * dry.conj())
    late = int(np.abs(both).argmax())
    return late if late < size else late - 2 * size


def split(pair: Pair) -> tuple[Pair, Pair, Pair]:
    """Cut into 80 % for training, 10 % for validation, 10 % for the test."""
    first, second = (len(pair.dry) * tenths // 10 for tenths in (8, 9))
    parts = slice(first), slice(first, second), slice(second, None)
    train, validation, test = (Pair(*(one[part] for one in pair)) for part in parts)
    return train, validation, test


# ---------------------------------------------------------------- loss


def emphasised(x: Array) -> Array:
    """Weigh high frequencies more, as the ear does: y[t] = x[t] - 0.85 x[t-1]; (batch, time)."""
    y = x.copy()
    y[:, 1:] -= EMPHASIS * x[:, :-1]
    return y


def loss(outputs: Array, targets: Array) -> tuple[float, Array]:
    """Return 0.75 ESR + 0.25 DC of a chunk, and the gradient; all arrays are (batch, time)."""
    error = targets - outputs
    sharp, mean = emphasised(error), error.mean(axis=1)
    energy = np.square(emphasised(targets)).mean() + EPS
    power = np.square(targets).mean() + EPS
    value = 0.75 * np.square(sharp).mean() / energy + 0.25 * np.square(mean).mean() / power
    d_sharp = 0.75 * 2 / (error.size * energy) * sharp
    d_error = d_sharp.copy()
    d_error[:, :-1] -= EMPHASIS * d_sharp[:, 1:]  # the filter, backward in time
    d_error += 0.25 * 2 / (error.size * power) * mean[:, np.newaxis]
    return float(value), -d_error


def error_to_signal(outputs: Array, wet: Array) -> float:
    return float(np.square(wet - outputs).sum() / np.square(wet).sum())


# ---------------------------------------------------------------- training


@dataclass
class Recipe:
    """The network, and how long to train it."""

    cell: str = "LSTM"
    units: int = 16
    skip: bool = True
    epochs: int = 100
    rate: int = RATE
    seed: int = 0
    dtype: str = "float32"

    def network(self) -> fastbptt.Recurrent:
        kind: type[fastbptt.LSTM] = getattr(fastbptt, self.cell)
        return kind(1, self.units, 1, seed=self.seed, dtype=self.dtype)


def play(model: fastbptt.Recurrent, dry: Array, skip: bool, block: int = RATE) -> Array:
    """Send a recording through the network, block by block."""
    state, parts = model.initial_state(1), []
    for first in range(0, len(dry), block):
        x = dry[np.newaxis, first : first + block, np.newaxis]
        out = model.forward(x, h0=state)
        parts.append(out.outputs[0, :, 0] + skip * x[0, :, 0])
        state = out.final_state
    return np.concatenate(parts)


def segments(pair: Pair, rate: int) -> tuple[Array, Array]:
    """Cut into segments of half a second: (segments, time) of either recording."""
    length = rate // 2
    count = len(pair.dry) // length
    dry, wet = (one[: count * length].reshape(count, length) for one in pair)
    return dry, wet


def train_epoch(
    model: fastbptt.Recurrent,
    adam: fastbptt.Adam,
    dry: Array,
    wet: Array,
    order: Array,
    skip: bool,
) -> float:
    """Train on all segments once; return the mean loss of the updates."""
    losses = []
    for at in range(0, len(order), BATCH):
        rows = order[at : at + BATCH]
        x, y = dry[rows, :, np.newaxis], wet[rows]
        state = model.forward(x[:, :WARMUP]).final_state
        for first in range(WARMUP, x.shape[1], UPDATE):
            chunk = slice(first, first + UPDATE)
            out = model.forward(x[:, chunk], h0=state, training=True)
            value, gradient = loss(out.outputs[:, :, 0] + skip * x[:, chunk, 0], y[:, chunk])
            adam.step(model, model.backward(out, d_outputs=gradient[:, :, np.newaxis]))
            state = out.final_state
            losses.append(value)
    return float(np.mean(losses))


def train(recipe: Recipe, learn: Pair, check: Pair, quiet: bool = False) -> fastbptt.Recurrent:
    """Train until validation no longer gets better; keep the best weights."""
    model, adam = recipe.network(), fastbptt.Adam(LR, weight_decay=DECAY)
    plateau = fastbptt.schedules.ReduceOnPlateau(factor=0.5, patience=HALVE)
    rng = np.random.default_rng(recipe.seed)
    dry, wet = segments(learn, recipe.rate)
    best, kept, waited, start = np.inf, model.state_dict(), 0, time.perf_counter()
    for epoch in range(1, recipe.epochs + 1):
        value = train_epoch(model, adam, dry, wet, rng.permutation(len(dry)), recipe.skip)
        if epoch % VALIDATE and epoch < recipe.epochs:
            continue
        outputs = play(model, check.dry, recipe.skip)
        found, _ = loss(outputs[np.newaxis], check.wet[np.newaxis])
        plateau.observe(found)
        adam.lr = LR * plateau.at(0, 1, recipe.epochs)
        if not quiet:
            seconds = (time.perf_counter() - start) / epoch
            print(
                f"epoch {epoch:3d}  loss {value:.4f}  validation {found:.4f}  "
                f"rate {adam.lr:.1e}  {seconds:.2f} s/epoch",
                flush=True,
            )
        if found < best:
            best, kept, waited = found, model.state_dict(), 0
        else:
            waited += 1
        if waited == PATIENCE:
            break
    model.load_state_dict(kept)
    return model


# ---------------------------------------------------------------- the program


def recordings(arguments: argparse.Namespace) -> tuple[Pair, int]:
    """Read both recordings, or make them up."""
    if arguments.dry is None:
        dry = guitar(4 if arguments.quick else 100)
        return Pair(dry, amplifier(dry)), RATE
    (dry, rate), (wet, other) = read_wav(arguments.dry), read_wav(arguments.wet)
    if rate != other:
        raise ValueError(f"{arguments.wet} has {other} Hz; expected {rate}, as {arguments.dry}")
    late = arguments.delay
    dry, wet = dry[max(-late, 0) :], wet[max(late, 0) :]
    size = min(len(dry), len(wet))
    if size < 2 * rate:
        raise ValueError(f"the recordings share {size} samples; expected two seconds or more")
    pair = Pair(dry[:size], wet[:size])
    if not pair.wet.any() or not pair.dry.any():
        raise ValueError("one of the recordings is silent")
    found = delay_of(pair)
    if abs(found) > 32:
        print(f"The amplifier's recording seems {found} samples late: try --delay {late + found}")
    return pair, rate


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--dry", type=Path, metavar="WAV", help="the guitar (made up)")
    parser.add_argument("--wet", type=Path, metavar="WAV", help="the same through the amplifier")
    parser.add_argument("--delay", type=int, default=0, help="samples that WET is late (0)")
    parser.add_argument("--cell", choices=("LSTM", "GRU"), default="LSTM", help="(LSTM)")
    parser.add_argument("--units", type=int, default=16, help="hidden units (16)")
    parser.add_argument("--epochs", type=int, default=100, help="at most (100)")
    parser.add_argument("--no-skip", action="store_true", help="do not add input to output")
    parser.add_argument("--output", type=Path, default=Path("amp"), help="without suffix (amp)")
    parser.add_argument("--quick", action="store_true", help="4 seconds, 8 units, 8 epochs")
    arguments = parser.parse_args(argv)
    if (arguments.dry is None) != (arguments.wet is None):
        parser.error("--dry and --wet belong together")
    if arguments.delay and arguments.dry is None:
        parser.error("--delay is for recordings: --dry and --wet")
    try:
        pair, rate = recordings(arguments)
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    units, epochs = (8, 8) if arguments.quick else (arguments.units, arguments.epochs)
    recipe = Recipe(arguments.cell, units, not arguments.no_skip, epochs, rate)
    learn, check, test = split(pair)
    model = train(recipe, learn, check)

    found = error_to_signal(play(model, test.dry, recipe.skip), test.wet)
    print(f"\nTest error-to-signal ratio: {found:.4f}")
    print(f"With the input as the output: {error_to_signal(test.dry, test.wet):.4f}")
    plug_in, nam = (arguments.output.with_suffix(one) for one in (".json", ".nam"))
    notes = {"name": arguments.output.name}
    to_rtneural(model, plug_in, skip=recipe.skip, sample_rate=rate, metadata=notes)
    print(f"Wrote {plug_in} for RTNeural and AIDA-X")
    if recipe.cell == "LSTM":
        to_nam(model, nam, skip=recipe.skip, sample_rate=rate, metadata=notes)
        print(f"Wrote {nam} for Neural Amp Modeler")
    return 0


if __name__ == "__main__":
    sys.exit(main())
