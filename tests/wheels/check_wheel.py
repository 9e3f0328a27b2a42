"""Check an installed package with its own requirements alone: a platform, a Python, a processor.

Every cell against the reference, on every instruction set that the processor has; a run of `fit`, a
file, errors. On a free-threaded Python the GIL must stay off.

    python tests/wheels/check_wheel.py [NAME ...]

NAME ...: the instruction sets that the processor has, if that is known.
"""

from __future__ import annotations

import pickle
import sys
import sysconfig
import tempfile
from pathlib import Path

import numpy as np

import fastbptt
from fastbptt import _core, reference

STRUCTURES = ({}, {"num_layers": 2, "bidirectional": True})
SIZES = (5, 40)  # rows along the lanes of vectors; units along the lanes


def check_gradients() -> int:
    """Loss and gradients in float64 against the reference; return how many networks."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(9, 6, 3)), rng.normal(size=(9, 2))
    count = 0
    for cell in reference.CELLS:
        for hidden in SIZES:
            for structure in STRUCTURES:
                given = {"dtype": "float64", "seed": 1, **structure}
                setting = {}
                if cell.startswith("leaky"):
                    given["alpha"], setting = 0.3, {"settings": {"alpha": 0.3}}
                model = fastbptt.Recurrent(cell, 3, hidden, 2, **given)
                loss, grads = model.loss_and_grad(x, y, loss="mse")
                expected, exact = reference.loss_and_grad(
                    dict(model.parameters), x, y, loss="mse", cell=cell, **structure, **setting
                )
                np.testing.assert_allclose(loss, expected, rtol=1e-12)
                for name, gradient in grads.items():
                    np.testing.assert_allclose(gradient, exact[name], rtol=1e-8, atol=1e-12)
                count += 1
    return count


def check_training(folder: Path) -> None:
    """Train with each number of threads alike, save, load, copy by pickle, diagnose."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(64, 12, 3))
    y = (x[:, :, 0].sum(axis=1) > 0).astype(int)
    losses = []
    for threads in (1, 2):
        fastbptt.set_num_threads(threads)
        model = fastbptt.GRU(3, 24, 1, seed=0)
        history = fastbptt.fit(model, x, y, epochs=3, validation=0.25, seed=0, verbose=0)
        losses.append(list(history["loss"]))
    assert losses[0] == losses[1], losses
    assert losses[0][-1] < losses[0][0], losses
    model.save(folder / "model.safetensors")
    outputs = fastbptt.predict(model, x)
    for other in (fastbptt.load(folder / "model.safetensors"), pickle.loads(pickle.dumps(model))):
        np.testing.assert_array_equal(fastbptt.predict(other, x), outputs)
    assert len(fastbptt.diagnose(model, x, y).steps) == 12


def check_errors() -> None:
    """Errors of the core are Python's, also where exceptions are a compiler's option."""
    for expected, sizes in ((ValueError, (3, 0, 1)), (MemoryError, (3, 10**7, 1))):
        try:
            fastbptt.RNN(*sizes)
        except expected:
            continue
        raise AssertionError(f"{sizes} raised no {expected.__name__}")


def main() -> None:
    if sysconfig.get_config_var("Py_GIL_DISABLED") == 1:
        assert not sys._is_gil_enabled(), "the import has turned the GIL on"
    usable = [backend.name for backend in fastbptt.backends() if backend.usable]
    if sys.argv[1:]:
        assert usable == sys.argv[1:], usable
    for name in usable:
        _core.use_backend(name)
        networks = check_gradients()
        with tempfile.TemporaryDirectory() as folder:
            check_training(Path(folder))
    check_errors()
    python = sys.version.split()[0]
    print(f"Python {python}, NumPy {np.__version__}: {networks} networks on {', '.join(usable)}")


if __name__ == "__main__":
    main()
