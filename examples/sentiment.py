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

The settings were chosen by the accuracy on a part of the training set; the test set was not used.
Word dropout matters most: in each batch some words are replaced by the unknown word.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

import fastbptt
from fastbptt.datasets import Texts, Tokenizer, load_imdb, load_snippets

CELL, WORD_SIZE, HIDDEN = "GRU", 64, 64
EPOCHS, BATCH, LR = 4, 32, 2e-3
WORD_DROPOUT = 0.3  # fraction of the words replaced in each batch
MOST_WORDS, MAX_LENGTH = 20_000, 400
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


def network(
    train: Texts, test: Texts, shown: Sequence[str], seed: int, quick: bool
) -> tuple[float, list[str]]:
    """Train on reviews; return the test accuracy and its predictions for some sentences.

    A prediction names the words that the vocabulary lacks: the network does not see them.
    """
    tokenizer = Tokenizer(max_size=MOST_WORDS, min_count=2).fit(train.texts)
    model = getattr(fastbptt, CELL)(
        WORD_SIZE,
        HIDDEN,
        1,
        bidirectional=True,
        embedding=len(tokenizer),
        padding_index=tokenizer.padding_index,
        init="keras",
        seed=seed,
    )

    def drop_words(batch: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return np.where(rng.random(batch.shape) < WORD_DROPOUT, tokenizer.unknown_index, batch)

    fastbptt.fit(
        model,
        tokenizer.encode(train.texts, max_length=MAX_LENGTH),
        train.y,
        loss="bce",
        epochs=max(5000 // len(train.y), 1) if quick else EPOCHS,
        batch_size=BATCH,
        optimizer=fastbptt.Adam(lr=LR),
        schedule="cosine",
        clip_norm=1.0,
        augment=drop_words,
        bucket=True,
        seed=seed,
        verbose=0,
    )

    def probability(texts: Any) -> np.ndarray:
        outputs = fastbptt.predict(model, tokenizer.encode(texts, max_length=MAX_LENGTH))
        return fastbptt.probabilities(outputs)[:, 1]

    accuracy = float(((probability(test.texts) > 0.5) == test.y).mean())
    lines = []
    for text, p in zip(shown, probability(shown), strict=True):
        sentiment = "Positive" if p > 0.5 else "Negative"
        lines.append(f"{sentiment} (Probability: {p:.2f})   {text}")
        unknown = [word for word in tokenizer.split(text) if word not in tokenizer.tokens]
        if unknown:
            lines.append(f"    without the words that it does not know: {', '.join(unknown)}")
    return accuracy, lines


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
    return f"{model.score(words.transform(test.texts), test.y):.3f}"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--imdb", metavar="FOLDER", help="the folder aclImdb")
    parser.add_argument(
        "--limit", type=int, metavar="N", help="number of texts of each class of IMDB"
    )
    parser.add_argument("--seeds", type=int, default=5, help="networks (5)")
    parser.add_argument("--quick", action="store_true", help="one network, few epochs")
    arguments = parser.parse_args(argv)

    shown = SHOWN
    if arguments.imdb:
        name = "IMDB"
        train, test = load_imdb(arguments.imdb, limit=arguments.limit)
    else:
        try:
            name, texts = "movie snippets", load_snippets("movies")
        except FileNotFoundError as error:
            if not arguments.quick:
                print(error, file=sys.stderr)
                return 1
            name, texts = "made-up sentences", made_up(1000, seed=0)
            shown = SHOWN_OF_MADE_UP
        train, test = shuffled_split(texts, 0.2, seed=0)

    accuracies, lines = [], []
    for seed in range(1 if arguments.quick else arguments.seeds):
        accuracy, lines = network(train, test, shown, seed, arguments.quick)
        accuracies.append(accuracy)
        print(f"{name}, seed {seed}: test accuracy {accuracy:.4f}", file=sys.stderr)

    head = ["texts", "train / test", "model", "test, median", "lowest - highest", "bag of words"]
    row = [
        name,
        f"{len(train.y):,} / {len(test.y):,}",
        f"bidirectional {CELL} {HIDDEN}",
        f"**{np.median(accuracies):.3f}**",
        f"{min(accuracies):.3f} - {max(accuracies):.3f}",
        bag_of_words(train, test),
    ]
    print(f"| {' | '.join(head)} |\n{'|---' * len(head)}|\n| {' | '.join(row)} |")
    print("\nPredictions of the last network:\n")
    for line in lines:
        print(f"    {line}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
