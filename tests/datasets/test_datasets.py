"""The data sets in the package are what their notices say."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Callable
from importlib.resources import files

import numpy as np
import pytest

from fastbptt import datasets
from fastbptt.datasets import Dataset, load_japanese_vowels


@pytest.fixture(scope="module")
def vowels() -> Dataset:
    return load_japanese_vowels()


def test_counts_shapes_and_types(vowels: Dataset) -> None:
    assert len(vowels.x_train) == len(vowels.y_train) == 270
    assert len(vowels.x_test) == len(vowels.y_test) == 370
    for x in vowels.x_train + vowels.x_test:
        assert x.dtype == np.float32
        assert x.flags.c_contiguous
        assert x.flags.writeable
        assert x.flags.owndata
        assert x.shape[1] == 12
        assert np.isfinite(x).all()
    assert {len(x) for x in vowels.x_train} <= set(range(7, 30))
    lengths = [len(x) for x in vowels.x_train + vowels.x_test]
    assert (min(lengths), max(lengths), sum(lengths)) == (7, 29, 4274 + 5687)
    assert vowels.y_train.dtype == vowels.y_test.dtype == np.int64
    assert len(vowels.feature_names) == 12
    assert len(vowels.class_names) == 9


def test_utterances_of_each_speaker(vowels: Dataset) -> None:
    # The counts published with the data set.
    assert np.bincount(vowels.y_train).tolist() == [30] * 9
    assert np.bincount(vowels.y_test).tolist() == [31, 35, 88, 44, 29, 24, 40, 50, 29]


def test_values_are_those_of_the_text(vowels: Dataset) -> None:
    # Copied from the first case of the training text and the last of the test text.
    first = [1.860936, -0.207383, 0.261557, -0.214562, -0.171253, -0.118167, -0.277557, 0.025668]
    assert np.array_equal(vowels.x_train[0][0, :8], np.array(first, dtype=np.float32))
    assert np.array_equal(
        vowels.x_train[0][:3, 0], np.array([1.860936, 1.891651, 1.939205], dtype=np.float32)
    )
    last = [1.177449, -0.40408, 0.052026, -0.284812, 0.42984, -0.203484, -0.072393, -0.080955]
    assert np.array_equal(vowels.x_test[-1][-1, :8], np.array(last, dtype=np.float32))


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ("train", "927e9f8a71934c1d52583cc5ad06658e3c5fc420131529efaf552cc03c4d9232"),
        ("test", "f20944790d595268786aa1ca516c6b848a6178ec81b67a2854ca9c0f3847d137"),
    ],
)
def test_every_bit(vowels: Dataset, part: str, expected: str) -> None:
    x, y = {
        "train": (vowels.x_train, vowels.y_train),
        "test": (vowels.x_test, vowels.y_test),
    }[part]
    digest = hashlib.sha256(np.concatenate(x).astype("<f4").tobytes())
    digest.update(np.array([len(s) for s in x], dtype="<i8").tobytes())
    digest.update(y.astype("<i8").tobytes())
    assert digest.hexdigest() == expected


def test_each_call_gives_fresh_arrays(vowels: Dataset) -> None:
    other = load_japanese_vowels()
    before = vowels.x_train[0].copy()
    other.x_train[0][:] = 0
    other.y_train[:] = 0
    assert np.array_equal(vowels.x_train[0], before)
    assert np.array_equal(load_japanese_vowels().x_train[0], before)
    assert not np.shares_memory(vowels.x_train[0], vowels.x_train[1])


def test_notice_and_description_give_source_and_licence(vowels: Dataset) -> None:
    notice = (files("fastbptt.datasets") / "data" / "NOTICE").read_text(encoding="utf-8")
    for text in (notice, vowels.description):
        for needed in ("10.24432/C5NS47", "CC BY 4.0", "Kudo", "Toyama", "Shimbo", "float32"):
            assert needed in text


def test_every_name_is_there() -> None:
    for name in datasets.__all__:
        thing = getattr(datasets, name)
        assert (thing.__doc__ or "").strip(), name
    assert set(datasets.__all__) <= set(dir(datasets))
    with pytest.raises(AttributeError, match=r"module 'fastbptt.datasets' has no attribute 'nil'"):
        _ = datasets.nil


def test_only_what_is_asked_for_is_loaded(
    run_script: Callable[[str], subprocess.CompletedProcess[str]],
) -> None:
    done = run_script(
        "import sys; from fastbptt.datasets import load_japanese_vowels;"
        "print(*sorted(m for m in sys.modules if m.startswith('fastbptt.datasets.')))"
    )
    assert done.stdout.split() == ["fastbptt.datasets.vowels"], done.stderr
