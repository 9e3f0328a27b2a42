"""Train a small recurrent network twice: by hand, equation by equation, and with the fast core.

The network reads 5 sequences of 10 words, each word a vector of 32 numbers, and predicts for
each sequence whether its sentiment is positive (1) or negative (0):

    h_t   = tanh(x_t W_xh + h_{t-1} W_hh + b_h)      hidden state, 64 numbers, h_0 = 0
    logit = h_10 W_hy + b_y                          read from the last hidden state
    p     = sigmoid(logit)                           probability of "positive"

The loss is the binary cross-entropy between p and the labels. Its gradients come from
backpropagation through time, and Adam moves the weights against them.

Run it with:  python examples/tutorial.py
"""

from __future__ import annotations

import sys

import numpy as np

import fastbptt
from fastbptt import reference

SEQUENCES, STEPS, INPUTS, HIDDEN, OUTPUTS = 5, 10, 32, 64, 1
EPOCHS, LEARNING_RATE = 5, 0.01


def show_epoch(epoch: int, loss: float) -> None:
    print(f"Epoch {epoch}, Loss: {loss:.4f}")


def show_predictions(logits: np.ndarray) -> np.ndarray:
    probabilities: np.ndarray = 1 / (1 + np.exp(-logits))
    for number, p in enumerate(probabilities, start=1):
        sentiment = "Positive" if p > 0.5 else "Negative"
        print(f"Sequence {number} predicted sentiment: {sentiment} (Probability: {p:.2f})")
    return probabilities


def main() -> int:
    # The data: random "words", and a label for each sequence.
    rng = np.random.default_rng(0)
    x = rng.standard_normal((SEQUENCES, STEPS, INPUTS)).astype(np.float32)
    y = np.array([[1], [0], [1], [0], [1]], dtype=np.float32)

    # The weights both networks start from: small random numbers, and biases of zero.
    start = {
        "W_xh": rng.normal(0.0, 0.01, (INPUTS, HIDDEN)).astype(np.float32),
        "W_hh": rng.normal(0.0, 0.01, (HIDDEN, HIDDEN)).astype(np.float32),
        "b_h": np.zeros(HIDDEN, dtype=np.float32),
        "W_hy": rng.normal(0.0, 0.01, (HIDDEN, OUTPUTS)).astype(np.float32),
        "b_y": np.zeros(OUTPUTS, dtype=np.float32),
    }

    print("By hand: the equations in NumPy, float64 (read them in fastbptt/reference)")
    params = {name: weight.astype(np.float64) for name, weight in start.items()}
    x64 = x.astype(np.float64)
    adam = reference.OptimizerState()
    losses_by_hand = []
    for epoch in range(1, EPOCHS + 1):
        loss, grads = reference.loss_and_grad(params, x64, y, loss="bce", steps="last")
        reference.adam_step(params, grads, adam, lr=LEARNING_RATE)
        losses_by_hand.append(float(loss))
        show_epoch(epoch, float(loss))
    by_hand = show_predictions(reference.forward(params, x64).outputs[:, -1, 0])

    print("\nThe same with the core: one call does all of a step, in float32")
    model = fastbptt.RNN(INPUTS, HIDDEN, OUTPUTS)
    for name, weight in start.items():
        model.parameters[name][...] = weight
    optimizer = fastbptt.Adam(lr=LEARNING_RATE)
    losses_of_core = []
    for epoch in range(1, EPOCHS + 1):
        loss = model.train_step(x, y, optimizer, loss="bce", steps="last")
        losses_of_core.append(loss)
        show_epoch(epoch, loss)
    of_core = show_predictions(model.forward(x).outputs[:, -1, 0])

    # float32 keeps 7 digits; after 5 steps of training at least 4 of them are the same.
    differences = np.append(np.subtract(losses_by_hand, losses_of_core), by_hand - of_core)
    difference = np.abs(differences).max()
    agree = bool(difference < 1e-4)
    verdict = "The two agree" if agree else "THE TWO DIFFER"
    print(f"\n{verdict}: largest difference of a loss or a probability {difference:.1e}")
    return 0 if agree else 1


if __name__ == "__main__":
    sys.exit(main())
