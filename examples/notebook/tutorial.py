# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Backpropagation through time, step by step
#
# A recurrent network reads a sentence word by word and then decides: is its sentiment positive or
# negative? This notebook trains such a network by hand, in NumPy, and then with `fastbptt`, which
# computes the same numbers in C++. On the way you see what the gradient does as it travels back
# through time, why it vanishes, and how an LSTM and a GRU keep it alive.
#
# You need the chain rule, matrix products and a little Python. The [course](../../docs/bptt.md)
# derives every equation; this notebook runs them.

# %%
# %matplotlib inline
import time

import numpy as np
from matplotlib import pyplot

import fastbptt

# %% [markdown]
# ## 1. The network
#
# At each step the network adds the new word $x_t$ to what it remembers, $h_{t-1}$, each multiplied
# by weights. The hyperbolic tangent of the sum is the new hidden state:
#
# $$
# \begin{aligned}
# a_t &= x_t W_{xh} + h_{t-1} W_{hh} + b_h \\
# h_t &= \tanh(a_t)
# \end{aligned}
# $$
#
# It starts with $h_0 = 0$. After the last word, $t = T$, a linear layer reads the hidden state, and
# the logistic function turns the result $z$ into a probability:
#
# $$
# \begin{aligned}
# z &= h_T W_{hy} + b_y \\
# p &= \sigma(z) = 1 / (1 + e^{-z})
# \end{aligned}
# $$
#
# ## 2. The data
#
# Five sequences of ten words, each word a vector of 32 numbers. They are random: this is enough to
# follow the gradient. Section 11 has real words. A label of 1 means positive, 0 negative.

# %%
B, T, I, H = 5, 10, 32, 64  # sequences, steps, inputs, hidden units

rng = np.random.default_rng(0)
x = rng.normal(size=(B, T, I))
y = np.array([[1.0], [0.0], [1.0], [0.0], [1.0]])

start = {
    "W_xh": rng.normal(0, 0.01, (I, H)),
    "W_hh": rng.normal(0, 0.01, (H, H)),
    "b_h": np.zeros(H),
    "W_hy": rng.normal(0, 0.01, (H, 1)),
    "b_y": np.zeros(1),
}
print(f"{sum(weight.size for weight in start.values())} numbers to learn")

# %% [markdown]
# ## 3. Forward
#
# The loop is the equation. It keeps all hidden states, because the way back needs them. `h[0]` is
# $h_0$ and `h[t]` is $h_t$; the word of step $t$ is `x[:, t - 1]`, since NumPy counts from 0.


# %%
def forward(params, x):
    """Hidden states h_0 to h_T, (T + 1, B, H), and the logits, (B, 1)."""
    h = np.zeros((T + 1, len(x), H))
    for t in range(1, T + 1):
        a = x[:, t - 1] @ params["W_xh"] + h[t - 1] @ params["W_hh"] + params["b_h"]
        h[t] = np.tanh(a)
    logits = h[T] @ params["W_hy"] + params["b_y"]
    return h, logits


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


h, logits = forward(start, x)
print("probabilities before training:", sigmoid(logits).ravel().round(3))

# %% [markdown]
# ## 4. The loss
#
# The binary cross-entropy is $-\ln p$ for a positive sequence and $-\ln(1 - p)$ for a negative one.
# With $p = \sigma(z)$, both are $\ln(1 + e^z) - y z$. The loss $L$ is the mean over the $B$
# sequences. A network that knows nothing predicts $p = 1/2$, and its loss is $\ln 2 = 0.6931$.


# %%
def cross_entropy(logits, y):
    return np.mean(np.logaddexp(0, logits) - y * logits)  # log(1 + exp(z)) - y z


print(f"loss before training: {cross_entropy(logits, y):.4f}")

# %% [markdown]
# ## 5. Backward through time
#
# Write $dv$ for $\partial L / \partial v$. The way back starts at the logit, where the derivative
# is prediction minus target:
#
# $$
# \begin{aligned}
# dz &= (\sigma(z) - y) \, / \, B \\
# dh_T &= dz\, W_{hy}^\top
# \end{aligned}
# $$
#
# Then it visits the steps in reverse. At each step, the gradient passes the tanh, whose slope is
# $1 - h_t^2$, and then the matrix $W_{hh}$ on its way to the step before:
#
# $$
# \begin{aligned}
# da_t &= dh_t \odot (1 - h_t \odot h_t) \\
# dh_{t-1} &= da_t W_{hh}^\top
# \end{aligned}
# $$
#
# All steps share one matrix $W_{hh}$, so its gradient is the **sum** of the contributions of all
# steps. The same holds for $W_{xh}$ and $b_h$:
#
# $$
# \begin{aligned}
# dW_{hh} &= \sum_t h_{t-1}^\top da_t \\
# dW_{xh} &= \sum_t x_t^\top da_t \\
# db_h &= \sum_t da_t
# \end{aligned}
# $$
#
# This accumulation is all that "through time" adds to backpropagation. The code keeps three norms
# of every step: of the gradient that arrives, of the step's contribution to $dW_{hh}$, and of the
# sum so far.


# %%
def backward(params, x, y, h, logits):
    """Gradients by name, and the norms of each step, (T, 3)."""
    grads = {name: np.zeros_like(weight) for name, weight in params.items()}
    norms = np.zeros((T, 3))

    dz = (sigmoid(logits) - y) / len(x)  # (B, 1)
    grads["W_hy"] += h[T].T @ dz  # (H, 1)
    grads["b_y"] += dz.sum(axis=0)  # (1,)
    dh = dz @ params["W_hy"].T  # (B, H), the gradient of h_T

    for t in range(T, 0, -1):  # T, T - 1, ..., 1
        da = dh * (1 - h[t] ** 2)  # through the tanh
        contribution = h[t - 1].T @ da  # of step t to dW_hh, (H, H)
        grads["W_hh"] += contribution
        grads["W_xh"] += x[:, t - 1].T @ da
        grads["b_h"] += da.sum(axis=0)
        norms[t - 1] = [np.linalg.norm(v) for v in (dh, contribution, grads["W_hh"])]
        dh = da @ params["W_hh"].T  # to the step before
    return grads, norms


grads, norms_before = backward(start, x, y, h, logits)

print("step   |dh_t|  contribution  dW_hh so far")
for t in range(T, 0, -1):
    print("{:4}  {:.1e}       {:.1e}    {:.8f}".format(t, *norms_before[t - 1]))

# %% [markdown]
# Read the table from the top, as the gradient travels. Each step back makes it more than ten times
# smaller. After five steps the sum no longer changes in the digits shown: what the first words
# contribute is far below them. The gradient has **vanished**. (The first step contributes exactly
# 0, because $W_{hh}$ was multiplied by $h_0 = 0$.)
#
# ### Is it right?
#
# The definition of the derivative knows nothing of backpropagation. Move one weight up and down,
# and see how the loss changes:


# %%
def slope(name, place, step=1e-4):
    moved = []
    for sign in (1, -1):
        params = {key: weight.copy() for key, weight in start.items()}
        params[name][place] += sign * step
        moved.append(cross_entropy(forward(params, x)[1], y))
    return (moved[0] - moved[1]) / (2 * step)


print("weight           by its definition   by BPTT")
for name, place in [
    ("W_xh", (0, 5)),
    ("W_hh", (3, 7)),
    ("b_h", (2,)),
    ("W_hy", (1, 0)),
]:
    where = f"{name}[{', '.join(map(str, place))}]"
    print(f"{where:15}  {slope(name, place):17.6e}   {grads[name][place]:.6e}")
    assert np.isclose(slope(name, place), grads[name][place], rtol=1e-4)

# %% [markdown]
# ## 6. Adam
#
# Plain gradient descent moves each weight by a multiple of its gradient. Adam divides the gradient
# by its typical size, so that a weight with tiny gradients moves as well. It keeps a running mean
# $m$ of the gradient and one of its square, $v$. Both start at 0 and would be too small at first;
# the division by $1 - \beta^k$ at update $k$ corrects this:
#
# $$
# \begin{aligned}
# m &\leftarrow \beta_1 m + (1 - \beta_1)\, g \\
# v &\leftarrow \beta_2 v + (1 - \beta_2)\, g \odot g \\
# \hat m &= m / (1 - \beta_1^k) \\
# \hat v &= v / (1 - \beta_2^k) \\
# W &\leftarrow W - \eta\, \hat m / (\sqrt{\hat v} + \varepsilon)
# \end{aligned}
# $$


# %%
LR, BETA1, BETA2, EPSILON = 0.01, 0.9, 0.999, 1e-8


def adam_step(params, grads, m, v, k):
    """Update number k = 1, 2, ... of params, m and v, in place."""
    for name, g in grads.items():
        m[name] = BETA1 * m[name] + (1 - BETA1) * g
        v[name] = BETA2 * v[name] + (1 - BETA2) * g * g
        m_hat = m[name] / (1 - BETA1**k)
        v_hat = v[name] / (1 - BETA2**k)
        params[name] -= LR * m_hat / (np.sqrt(v_hat) + EPSILON)


# %% [markdown]
# Now everything is there. An epoch is one pass over the data, here one update:

# %%
EPOCHS = 5

params = {name: weight.copy() for name, weight in start.items()}
m = {name: np.zeros_like(weight) for name, weight in start.items()}
v = {name: np.zeros_like(weight) for name, weight in start.items()}
losses = []

for epoch in range(1, EPOCHS + 1):
    h, logits = forward(params, x)
    losses.append(cross_entropy(logits, y))
    grads, _ = backward(params, x, y, h, logits)
    adam_step(params, grads, m, v, epoch)
    print(f"Epoch {epoch}, Loss: {losses[-1]:.4f}")


# %%
def show(probabilities):
    for number, p in enumerate(probabilities, start=1):
        verdict = f"{'Positive' if p > 0.5 else 'Negative'} (Probability: {p:.2f})"
        print(f"Sequence {number} predicted sentiment: {verdict}")


h, logits = forward(params, x)
by_hand = sigmoid(logits).ravel()
show(by_hand)

# %% [markdown]
# The labels are 1, 0, 1, 0, 1: after five updates the network has learned them by heart. With
# random words there is nothing else to learn.
#
# ## 7. The same with the core
#
# `fastbptt.RNN` is the same network, with the same names. One call of `train_step` does what the
# three functions above do, in C++. With float64 and the same initial weights, the numbers are the
# same, too:

# %%
model = fastbptt.RNN(input_size=I, hidden_size=H, output_size=1, dtype="float64")
for name, weight in start.items():
    model.parameters[name] = weight
adam = fastbptt.Adam(lr=LR)

losses_of_core = []
for epoch in range(1, EPOCHS + 1):
    losses_of_core.append(model.train_step(x, y, adam, loss="bce", steps="last"))
    print(f"Epoch {epoch}, Loss: {losses_of_core[-1]:.4f}")
of_core = fastbptt.probabilities(model.forward(x).last)[:, 1]
show(of_core)

# %%
pairs = {"losses": (losses, losses_of_core), "probabilities": (by_hand, of_core)}
pairs |= {name: (weight, model.parameters[name]) for name, weight in params.items()}
for name, (one, other) in pairs.items():
    difference = np.abs(np.subtract(one, other)).max()
    print(f"{name:13}  largest difference {difference:.0e}")
    assert difference < 1e-9

# %% [markdown]
# The two differ in the last of 16 digits, because they add the same numbers in another order. The
# core is faster, and in float32, the default, faster still:


# %%
def fastest(function, times=100):
    """Microseconds of the fastest of some calls."""
    durations = []
    for _ in range(times):
        before = time.perf_counter()
        function()
        durations.append(time.perf_counter() - before)
    return 1e6 * min(durations)


def by_hand_step():
    copies = {name: weight.copy() for name, weight in start.items()}
    h, logits = forward(copies, x)
    grads, _ = backward(copies, x, y, h, logits)
    adam_step(copies, grads, m, v, EPOCHS + 1)


def core_step(dtype):
    network = fastbptt.RNN(I, H, 1, dtype=dtype, seed=0)
    optimizer = fastbptt.Adam(lr=LR)
    inputs, targets = x.astype(dtype), y.astype(dtype)
    return lambda: network.train_step(inputs, targets, optimizer)


print(f"NumPy          {fastest(by_hand_step):6.0f} microseconds")
print(f"core, float64  {fastest(core_step('float64')):6.0f} microseconds")
print(f"core, float32  {fastest(core_step('float32')):6.0f} microseconds")

# %% [markdown]
# ## 8. Gradients over time
#
# ### By hand
#
# The norms that `backward` kept, before training and after five updates:

# %% Norms of dh_t and of the contributions to dW_hh over the steps, before and after training
h, logits = forward(params, x)
_, norms_after = backward(params, x, y, h, logits)

with fastbptt.plot.style():
    figure, axes = pyplot.subplots(
        2, 1, figsize=(3.5, 4), sharex=True, layout="constrained"
    )
    for name, norms in {"before": norms_before, "after": norms_after}.items():
        for column, ax in enumerate(axes):
            shown = norms[:, column] > 0  # a logarithmic scale has no zero
            line = np.arange(1, T + 1)[shown], norms[shown, column]
            ax.semilogy(*line, "o-", markersize=3, label=f"{name} training")
    axes[0].set(title="norm of dh_t")
    axes[1].set(title="norm of the contribution to dW_hh", xlabel="step t")
    axes[0].legend()

# %% [markdown]
# Time runs from left to right, so the gradient travels from right to left. A straight line on a
# logarithmic scale is exponential decay: each step multiplies the gradient by about the same
# number. Adam moves every weight by about 0.01 per update, however small its gradient is. So five
# updates have made $W_{hh}$ several times larger, and now all ten words count.
#
# ### With one call
#
# `fastbptt.diagnose` records the same numbers during one backward pass, here those after training,
# and `gradient_over_time` plots them: the thick line is each step's contribution to $dW_{hh}$, the
# thin one the sum so far. Its steps count from 0, as NumPy's indices do.

# %% Contributions to dW_hh over ten steps, and their running sum
(layer,) = fastbptt.diagnose(model, x, y).layers
assert np.allclose(layer.contribution["W_hh"], norms_after[:, 1], rtol=1e-9)

ax = fastbptt.plot.gradient_over_time(model, x, y, weights=("W_hh",))

# %% [markdown]
# ## 9. The unrolled network
#
# Written out, the loop is a deep network with one layer per step. For a network of three units that
# reads four steps, the picture has room for every number. Grey arrows are the forward pass, each
# with the weight that it uses. The orange arrow beside each shows what flows back along the same
# edge, with its norm. The bars below are the accumulation of section 5: how the gradient of each
# weight grows, step by step, from the end.

# %% A tanh RNN of three units unrolled over four steps, with what flows back along each edge
small = fastbptt.RNN(input_size=2, hidden_size=3, output_size=1, seed=1)
x_small, y_small = x[:1, :4, :2], y[:1]
ax = fastbptt.plot.unrolled(small, x_small, y_small)

# %% [markdown]
# ## 10. LSTM and GRU
#
# In a tanh RNN, everything that flows back passes the matrix $W_{hh}$ and the slope of a tanh at
# every step, and shrinks there. An LSTM adds a second path: the cell state $c_t$ is not multiplied
# by a matrix, but by a gate $f_t$ between 0 and 1,
#
# $$
# \begin{aligned}
# c_t &= f_t \odot c_{t-1} + i_t \odot g_t \\
# h_t &= o_t \odot \tanh(c_t)
# \end{aligned}
# $$
#
# so that $dc_{t-1} = dc_t \odot f_t$ along this path. Where the forget gate is open,
# $f_t \approx 1$, the gradient passes undiminished. A GRU does the same with a single state and a
# gate $z_t$: $h_t = (1 - z_t) \odot n_t + z_t \odot h_{t-1}$. In the picture of the LSTM, the path
# through $c$ is the horizontal one.

# %% An LSTM over three steps: the gradient along the cell state, and the one through the gates
small_lstm = fastbptt.LSTM(input_size=2, hidden_size=3, output_size=1, seed=1)
ax = fastbptt.plot.unrolled(small_lstm, x_small[:, :3], y_small)

# %% [markdown]
# The difference shows in longer sequences. Here are the three cells over 60 steps, untrained. A
# bias of 4 opens the gates at the start: the forget gates of the LSTM, and the gates $z_t$ of the
# GRU, which are the second of three blocks in its bias.

# %% Contributions to dW_hh over 60 steps in a tanh RNN, a GRU and an LSTM
rng = np.random.default_rng(0)
x_long = rng.normal(size=(1000, 60, 2)).astype("float32")
y_long = (x_long[:, 0, 0] > 0).astype(int)

cells = {
    "tanh RNN": fastbptt.RNN(2, 32, 1, seed=0),
    "GRU": fastbptt.GRU(2, 32, 1, seed=0),
    "LSTM": fastbptt.LSTM(2, 32, 1, forget_bias=4.0, seed=0),
}
cells["GRU"].parameters["b_h"][32:64] = 4.0

ax = fastbptt.plot.gradient_over_time(
    cells, x_long[:100], y_long[:100], show="contribution"
)

# %% [markdown]
# ### Does it matter?
#
# It does when the answer depends on something long ago. In these sequences the label is the sign of
# the very first number, 60 steps before the decision. All the rest is noise. `fastbptt.fit` is the
# training loop: mini-batches, validation on a fifth of the sequences, a learning rate that falls to
# zero.

# %% Validation loss of a tanh RNN, a GRU and an LSTM that must remember for 60 steps
curves = {}
for name, cell in cells.items():
    history = fastbptt.fit(
        cell,
        x_long,
        y_long,
        epochs=20,
        batch_size=20,
        optimizer=fastbptt.Adam(lr=0.01),
        schedule="cosine",
        clip_norm=1.0,
        validation=0.2,
        metrics="accuracy",
        seed=0,
        verbose=0,
    )
    curves[name] = history["validation_loss"]
    print(f"{name:8}  validation accuracy {history['validation_accuracy'][-1]:.2f}")

with fastbptt.plot.style():
    figure, ax = pyplot.subplots(figsize=(3.5, 2.5), layout="constrained")
    for name, curve in curves.items():
        ax.semilogy(np.arange(1, len(curve) + 1), curve, label=name)
    ax.set(xlabel="epoch", ylabel="validation loss")
    ax.legend()

# %% [markdown]
# The tanh RNN does no better than guessing, $\ln 2 = 0.69$, and what it does learn is the noise of
# the training sequences. No gradient tells it about the first step. The two others remember.
#
# ## 11. Sentiment of reviews
#
# Now words. These reviews are made up from a few patterns, but reading them takes memory: "not"
# turns the word after it around, and what somebody expected does not count.

# %%
GOOD = ("good", "great", "superb", "funny", "clever", "moving", "charming", "brilliant")
BAD = ("bad", "dull", "poor", "boring", "silly", "weak", "awful", "tedious")
THINGS = ("film", "plot", "cast", "score", "ending", "dialogue", "story", "sequel")


def make_review(rng):
    """A review, and 1 if it is positive, else 0."""
    thing, positive = rng.choice(THINGS), bool(rng.integers(2))
    word = rng.choice(GOOD if positive else BAD)
    opposite = rng.choice(BAD if positive else GOOD)
    patterns = (
        f"the {thing} is {word}",
        f"the {thing} is really {word}",
        f"the {thing} is not {opposite}",
        f"I would not say that the {thing} is {opposite}",
        f"I expected a {opposite} {thing} but it is {word}",
    )
    return str(rng.choice(patterns)), int(positive)


rng = np.random.default_rng(0)
reviews = sorted({make_review(rng) for _ in range(2000)})
rng.shuffle(reviews)
train, test = reviews[200:], reviews[:200]  # no review is in both
print(f"{len(train)} reviews to learn from, {len(test)} to test, for example")
for text, label in train[:5]:
    print(f"  {label}  {text}")

# %% [markdown]
# A tokenizer numbers the words. The network has an **embedding**: a vector of 16 numbers for each
# word, which it learns like all other weights. A GRU reads the vectors.

# %% Training and validation loss of the GRU that reads reviews
tokenizer = fastbptt.datasets.Tokenizer().fit(text for text, _ in train)
reader = fastbptt.GRU(16, 32, 1, embedding=len(tokenizer), seed=0)

history = fastbptt.fit(
    reader,
    tokenizer.encode(text for text, _ in train),
    np.array([label for _, label in train]),
    epochs=15,
    optimizer=fastbptt.Adam(lr=0.01),
    schedule="cosine",
    validation=0.1,
    seed=0,
    verbose=0,
)
ax = fastbptt.plot.losses(history)

# %%
probabilities = fastbptt.probabilities(
    fastbptt.predict(reader, tokenizer.encode(text for text, _ in test))
)[:, 1]
labels = np.array([label for _, label in test])
accuracy = ((probabilities > 0.5) == labels).mean()
print(f"{accuracy:.0%} of the {len(test)} test reviews are right")
assert accuracy > 0.95

# %% [markdown]
# ### Predictions
#
# A word that no training review contains has no number: the tokenizer encodes it as unknown. The
# network answers all the same, but the answer means little, so the code says so.


# %%
def predict_sentiment(reviews):
    encoded = tokenizer.encode(reviews)
    positive = fastbptt.probabilities(fastbptt.predict(reader, encoded))[:, 1]
    for number, (text, p) in enumerate(zip(reviews, positive, strict=True), start=1):
        verdict = f"{'Positive' if p > 0.5 else 'Negative'} (Probability: {p:.2f})"
        print(f"Review {number} predicted sentiment: {verdict}")
        print(f"  {text}")
        unknown = [w for w in tokenizer.split(text) if w not in tokenizer.tokens]
        if unknown:
            print(f"  Words that the network has never seen: {', '.join(unknown)}")


predict_sentiment(
    [
        "the score is superb",
        "the score is not superb",
        "I would not say that the plot is boring",
        "I expected a dull film but it is moving",
        "I expected a moving film but it is dull",
        "the soundtrack is flawless",
    ]
)

# %% [markdown]
# ### What flows back to the words
#
# The last picture is an unrolled network again, now with words. The loss for a negative label is at
# the end; the orange number above each word says how strongly it pulls at the word's vector.

# %% The GRU unrolled over the words of a review, with what flows back to each word
sentence = tokenizer.encode(["the plot is not good"])
ax = fastbptt.plot.unrolled(reader, sentence, [0], vocabulary=tokenizer.tokens)

# %% [markdown]
# ## Where to go on
#
# - [Backpropagation through time, derived](../../docs/bptt.md): the equations of every cell, and
#   the check by the complex step.
# - [Why gradients vanish and explode](../../docs/gradients.md), and what helps.
# - [Training in practice](../../docs/training.md): losses, lengths, truncated BPTT, precision.
# - [Who is speaking?](japanese_vowels.py) is a notebook with recorded speech.
# - The program [sentiment.py](../sentiment.py) reads the 50,000 film reviews of IMDB,
#   [video.py](../video.py) classifies video clips by what a detector such as YOLO found in them.
