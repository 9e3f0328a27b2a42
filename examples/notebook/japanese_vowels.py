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
# # Who is speaking?
#
# Nine men say the same two Japanese vowels, one after the other. Each recording is a sequence of 7
# to 29 steps, and each step holds 12 numbers (cepstrum coefficients) that describe the sound at
# that moment. From such a sequence a recurrent network is to recognise the speaker.
#
# The recordings are by M. Kudo, J. Toyama and M. Shimbo (UCI Machine Learning Repository,
# [10.24432/C5NS47](https://doi.org/10.24432/C5NS47), CC BY 4.0). They come with `fastbptt`, so
# nothing is downloaded here.

# %%
# %matplotlib inline
import numpy as np

import fastbptt
from fastbptt.datasets import load_japanese_vowels

data = load_japanese_vowels()
steps = [len(x) for x in data.x_train]
print(f"{len(data.x_train)} training recordings, {len(data.x_test)} test recordings")
print(f"{min(steps)} to {max(steps)} steps of {len(data.feature_names)} numbers")
print(f"recordings of each speaker: {np.bincount(data.y_train)}")

# %% [markdown]
# ## What the data look like
#
# Four recordings, by different speakers; a line for each coefficient.

# %% Four recordings by different speakers, twelve coefficients over the steps
ax = fastbptt.plot.sequences(
    data.x_train, data.y_train, examples=[0, 80, 160, 240], class_names=data.class_names
)

# %% [markdown]
# The coefficients have different means and standard deviations. The network learns faster if each
# has mean 0 and standard deviation 1. Both are computed from the training part alone.

# %%
standardizer = fastbptt.Standardizer().fit(data.x_train)
x_train = standardizer.transform(data.x_train)
x_test = standardizer.transform(data.x_test)

# %% [markdown]
# ## Training
#
# A GRU reads each recording in both directions; a linear layer on its last states has nine
# outputs, one for each speaker. 270 recordings are few, and the network would overfit. Therefore
# fresh Gaussian noise is added to each batch by `augment`. A tenth of the training part is held out
# for validation.

# %%
model = fastbptt.GRU(
    input_size=12,
    hidden_size=64,
    output_size=9,
    bidirectional=True,
    init="keras",
    seed=0,
)


def add_noise(batch, rng):
    return batch + 0.8 * rng.standard_normal(batch.shape, dtype=batch.dtype)


history = fastbptt.fit(
    model,
    x_train,
    data.y_train,
    epochs=40,
    batch_size=16,
    optimizer=fastbptt.Adam(lr=3e-3),
    schedule="cosine",
    clip_norm=1.0,
    validation=0.1,
    metrics=["accuracy"],
    augment=add_noise,
    seed=0,
    verbose=0,
)
history

# %% Training and validation loss over the epochs
ax = fastbptt.plot.losses(history)

# %% [markdown]
# The training loss is measured with the noise, the validation loss without it, which is why the
# second one is lower.
#
# ## How good is it?
#
# The test part is used here for the first time, and only once.

# %%
outputs = fastbptt.predict(model, x_test)
speaker = outputs.argmax(axis=1)
right = speaker == data.y_test
print(f"Test accuracy {right.mean():.3f}: {right.sum()} of {len(right)} are right")
assert right.mean() > 0.95

# %% Confusion matrix of the nine speakers
ax = fastbptt.plot.confusion(data.y_test, speaker, class_names=data.class_names)

# %% [markdown]
# ## Predictions for single recordings
#
# The softmax turns the nine outputs into probabilities.

# %%
probability = fastbptt.probabilities(outputs)
for i in range(0, len(x_test), 60):
    name, p = data.class_names[speaker[i]], probability[i, speaker[i]]
    verdict = "right" if right[i] else "wrong"
    print(f"Recording {i:3}: {name} (Probability: {p:.2f})  {verdict}")

# %% [markdown]
# The recordings with the lowest probability of the true speaker:

# %% The four recordings with the lowest probability of the true speaker
confidence = probability[np.arange(len(speaker)), data.y_test]
ax = fastbptt.plot.sequences(
    x_test,
    data.y_test,
    outputs,
    examples=[int(i) for i in confidence.argsort()[:4]],
    class_names=data.class_names,
)

# %% [markdown]
# ## Inside the network
#
# The hidden states while it reads the first test recording: a row for each unit, a column for each
# step.

# %% Hidden states of both directions over the steps of a recording
ax = fastbptt.plot.hidden_states(model, x_test, example=0)
