"""Sentiment of reviews: words, an embedding, a bidirectional recurrent network.

With the 50,000 film reviews of Maas et al. (https://ai.stanford.edu/~amaas/data/sentiment/,
aclImdb_v1.tar.gz unpacked), whose test part is given:

    python examples/sentiment.py --imdb aclImdb

Without it, with the 10,568 sentences from film reviews in the source package of vaderSentiment. A
random fifth of them is the test set:

    pip download --no-deps --no-binary :all: -d data vaderSentiment
    FASTBPTT_DATA=data python examples/sentiment.py
    python examples/sentiment.py --quick          # without any data: synthetic sentences

The table compares the network's test accuracy with that of a logistic regression on the same split,
which uses the counts of words and word pairs, not their order (it needs scikit-learn). Sentences
without context are hard: people do not agree with all labels either.

The settings were chosen by the accuracy on a part of the training set, for IMDB on the reviews of a
fifth of the films; the test set was not used.
The networks for sentences and for reviews drop words: in each batch some are replaced by the
unknown word. That for reviews pools, with one state of each unit, the largest, for all steps; its
embedding starts from vectors that training reviews give, and it keeps an average of its weights.
With --results FILE a run that was ended goes on, or several share the work.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import fastbptt
from fastbptt.datasets import Texts, Tokenizer, load_imdb, load_snippets


@dataclass(frozen=True)
class Setting:
    """Network and training."""

    steps: str  # what the readout sees: the last states, or their maximum over the steps
    word_size: int
    hidden: int
    epochs: int
    batch: int
    lr: float
    word_dropout: float  # fraction of the words replaced in each batch by the unknown word
    most_words: int
    max_length: int
    betas: tuple[float, float] = (0.9, 0.999)
    schedule: str | None = "cosine"
    vectors: bool = False  # whether the embedding starts from vectors of the words' neighbours
    average: float | None = None  # the decay of a moving average of the weights


SENTENCES = Setting("last", 64, 64, 4, 32, 2e-3, 0.3, 20_000, 400)
REVIEWS = Setting(
    "max", 64, 64, 3, 32, 1.5e-3, 0.3, 20_000, 600, (0.9, 0.98), None, True, average=0.999
)
POOLING = {"last": "last states", "max": "maximum over the steps"}
SHOWN = (
    "A moving, funny and beautifully acted film.",
    "The plot makes no sense and the jokes fall flat.",
    "It is not as bad as it could have been.",
)
SHOWN_OF_MADE_UP = ("I think the plot is superb.", "Believe me, the music is dull.", SHOWN[0])


def shuffled_split(texts: Texts, part: float, seed: int) -> tuple[Texts, Texts]:
    """Cut off a random part, each text once: the file has long runs of one sentiment."""
    _, first = np.unique(np.array(texts.texts), return_index=True)
    order = np.random.default_rng(seed).permutation(first)
    cut = round(part * len(order))

    def pick(index: np.ndarray) -> Texts:
        return Texts(
            [texts.texts[i] for i in index],
            texts.y[index],
            texts.ratings[index],
            tuple(texts.ids[i] for i in index),
        )

    return pick(order[cut:]), pick(order[:cut])


def made_up(n: int, seed: int) -> Texts:
    """Make sentences whose last word tells the sentiment."""
    rng = np.random.default_rng(seed)
    good, bad = ("good", "great", "fine", "superb"), ("bad", "dull", "weak", "poor")
    texts, y = [], np.empty(n, np.int64)
    for i in range(n):
        positive = rng.random() < 0.5
        word = rng.choice(good if positive else bad)
        thing = rng.choice(["film", "plot", "cast", "music", "end", "beginning"])
        start = rng.choice(["", "I think", "As they say,", "Well,", "Believe me,", "To be short,"])
        texts.append(f"{start} the {thing} is {word}.")
        y[i] = positive
    return Texts(texts, y, 2.0 * y - 1, tuple(map(str, range(n))))


def vocabulary(setting: Setting, train: Texts) -> Tokenizer:
    """Learn the vocabulary of the training texts."""
    return Tokenizer(max_size=setting.most_words, min_count=2).fit(train.texts)


def word_vectors(tokens: Sequence[np.ndarray], words: int, size: int) -> np.ndarray:
    """Vectors of words by the words around them, so that words used alike begin alike.

    Of each word, how often each of the 2,000 most frequent ones stands within five places, a
    neighbour counted as 1/distance; of these the positive pointwise mutual information, reduced to
    its first singular vectors. O. Levy, Y. Goldberg and I. Dagan, Improving distributional
    similarity with lessons learned from word embeddings, TACL 3, 2015, whose smoothing it has.
    """
    window, common, reserved, norm = 5, min(2000, words), 2, 1.5
    line = np.concatenate([np.pad(one, (0, window)) for one in tokens])  # 0: between texts
    counts = np.zeros(words * common)
    for apart in range(1, window + 1):
        for word, near in ((line[apart:], line[:-apart]), (line[:-apart], line[apart:])):
            counted = (word >= reserved) & (near >= reserved) & (near < common)
            pairs = word[counted] * common + near[counted]
            counts += np.bincount(pairs, minlength=counts.size) / apart
    table = counts.reshape(words, common)
    share = table.sum(axis=0) ** 0.75
    expected = np.maximum(table.sum(axis=1, keepdims=True) * (share / share.sum()), 1e-300)
    information = np.log(np.maximum(table / expected, 1.0)).astype(np.float32)
    values, axes = np.linalg.eigh(information.T @ information)
    axes = axes[:, ::-1][:, :size] / np.maximum(values[::-1][:size], 1e-6) ** 0.25
    vectors = information @ axes
    vectors -= vectors[reserved:].mean(axis=0)
    vectors *= norm / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
    vectors[:reserved] = 0.0
    missing = size - vectors.shape[1]  # of a vocabulary smaller than that
    return np.pad(vectors, ((0, 0), (0, missing))).astype(np.float32)


class Average(fastbptt.Callback):
    """A moving average of the weights, which the model has in the end."""

    def __init__(self, decay: float) -> None:
        self.decay, self.batches = decay, 0

    def on_train_begin(self, run: fastbptt.TrainingRun) -> None:
        self.weights = run.model.parameters.flat.astype(np.float64)

    def on_batch_end(self, run: fastbptt.TrainingRun) -> None:
        self.batches += 1
        decay = min(self.decay, self.batches / (self.batches + 5))
        self.weights += (1 - decay) * (run.model.parameters.flat - self.weights)

    def on_train_end(self, run: fastbptt.TrainingRun) -> None:
        run.model.parameters.flat[:] = self.weights


def untrained(
    setting: Setting, tokenizer: Tokenizer, seed: int, vectors: np.ndarray | None = None
) -> fastbptt.GRU:
    """Make the network."""
    return fastbptt.GRU(
        setting.word_size,
        setting.hidden,
        1,
        bidirectional=True,
        embedding=len(tokenizer) if vectors is None else vectors,
        padding_index=tokenizer.padding_index,
        init="keras",
        seed=seed,
    )


def train(
    model: fastbptt.GRU,
    setting: Setting,
    tokens: Sequence[np.ndarray],
    y: np.ndarray,
    seed: int,
    quick: bool,
) -> None:
    """Train a network."""

    def drop_words(batch: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        dropped = rng.random(batch.shape) < setting.word_dropout
        return np.where(dropped, Tokenizer.unknown_index, batch)

    fastbptt.fit(
        model,
        tokens,
        y,
        loss="bce",
        steps=setting.steps,
        epochs=max(5000 // len(y), 1) if quick else setting.epochs,
        batch_size=setting.batch,
        optimizer=fastbptt.Adam(lr=setting.lr, betas=setting.betas),
        schedule=setting.schedule,
        clip_norm=1.0,
        augment=drop_words,
        bucket=True,
        callbacks=[] if setting.average is None else [Average(setting.average)],
        seed=seed,
        verbose=0,
    )


def probability(
    setting: Setting, tokenizer: Tokenizer, model: fastbptt.GRU, texts: Sequence[str]
) -> np.ndarray:
    """Return how probable it is that each text is positive."""
    tokens = tokenizer.encode(texts, max_length=setting.max_length)
    return fastbptt.probabilities(fastbptt.predict(model, tokens, steps=setting.steps))[:, 1]


def predictions(tokenizer: Tokenizer, texts: Sequence[str], probs: np.ndarray) -> list[str]:
    """Write a prediction for each text, with the words that the network does not know."""
    lines = []
    for text, p in zip(texts, probs, strict=True):
        sentiment = "Positive" if p > 0.5 else "Negative"
        lines.append(f"{sentiment} (Probability: {p:.2f})   {text}")
        unknown = [word for word in tokenizer.split(text) if word not in tokenizer.tokens]
        if unknown:
            lines.append(f"    without the words that it does not know: {', '.join(unknown)}")
    return lines


def bag_of_words(train: Texts, test: Texts) -> str:
    """Return the test accuracy of a logistic regression on counts of words and pairs of words."""
    try:
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression
    except ImportError:
        return "needs scikit-learn"
    words = TfidfVectorizer(
        ngram_range=(1, 2), min_df=2, token_pattern=None, tokenizer=Tokenizer().split
    )
    model = LogisticRegression(max_iter=1000).fit(words.fit_transform(train.texts), train.y)
    return f"{model.score(words.transform(test.texts), test.y):.4f}"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--imdb", metavar="FOLDER", help="the folder aclImdb")
    parser.add_argument(
        "--limit", type=int, metavar="N", help="number of texts of each class of IMDB"
    )
    parser.add_argument(
        "--seeds", type=int, nargs="+", default=list(range(5)), help="one network each (0 to 4)"
    )
    parser.add_argument(
        "--results", type=Path, metavar="FILE", help="JSON lines; the seeds in it are not run again"
    )
    parser.add_argument("--quick", action="store_true", help="one network, few epochs")
    arguments = parser.parse_args(argv)

    setting, shown = SENTENCES, SHOWN
    if arguments.imdb:
        name, setting = "IMDB", REVIEWS
        known, test = load_imdb(arguments.imdb, limit=arguments.limit)
    else:
        try:
            name, texts = "movie snippets", load_snippets("movies")
        except FileNotFoundError as error:
            if not arguments.quick:
                print(error, file=sys.stderr)
                return 1
            name, texts = "made-up sentences", made_up(1000, seed=0)
            shown = SHOWN_OF_MADE_UP
        known, test = shuffled_split(texts, 0.2, seed=0)

    results: dict[int, dict[str, Any]] = {}
    if arguments.results is not None and arguments.results.exists():
        lines = map(json.loads, arguments.results.read_text().splitlines())
        results = {one["seed"]: one for one in lines}
    seeds = arguments.seeds[:1] if arguments.quick else arguments.seeds
    tokenizer = vocabulary(setting, known)
    tokens = tokenizer.encode(known.texts, max_length=setting.max_length)
    for seed in seeds:
        if seed in results:
            continue
        start = time.process_time()
        vectors = None
        if setting.vectors:
            vectors = word_vectors(tokens, len(tokenizer), setting.word_size)
        model = untrained(setting, tokenizer, seed, vectors)
        train(model, setting, tokens, known.y, seed, arguments.quick)
        seconds = time.process_time() - start
        found = probability(setting, tokenizer, model, test.texts)
        results[seed] = {
            "seed": seed,
            "accuracy": float(((found > 0.5) == test.y).mean()),
            "seconds": seconds,
            "predictions": probability(setting, tokenizer, model, shown).tolist(),
        }
        print(f"{name}: {results[seed]}", file=sys.stderr)
        if arguments.results is not None:
            with arguments.results.open("a") as file:
                file.write(json.dumps(results[seed]) + "\n")

    accuracies = [results[seed]["accuracy"] for seed in seeds]
    last = np.array(results[seeds[-1]]["predictions"])
    head = ["texts", "train / test", "model", "test, median", "each seed", "bag of words"]
    head.append("training, processor time")
    row = [
        name,
        f"{len(known.y):,} / {len(test.y):,}",
        f"bidirectional GRU {setting.hidden}, {POOLING[setting.steps]}",
        f"**{np.median(accuracies):.4f}**",
        ", ".join(f"{one:.4f}" for one in accuracies),
        bag_of_words(known, test),
        f"{np.median([results[seed]['seconds'] for seed in seeds]):.0f} s",
    ]
    print(f"| {' | '.join(head)} |\n{'|---' * len(head)}|\n| {' | '.join(row)} |")
    print("\nPredictions of the last network:\n")
    for line in predictions(tokenizer, shown, last):
        print(f"    {line}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
