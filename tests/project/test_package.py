"""The package as it is installed: names, version, data, documentation, what importing it costs."""

from __future__ import annotations

import doctest
import importlib
import importlib.metadata
import inspect
import json
import pkgutil
import subprocess
import sys
from importlib.resources import files

import pytest

import fastbptt
from fastbptt import _core

# torch_step, jax_step, keras_step need packages that may be absent.
MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(fastbptt.__path__, "fastbptt.")
    if module.name.rpartition(".")[2]
    not in ("_core", "__main__", "torch_step", "jax_step", "keras_step")
)


def test_one_version() -> None:
    assert fastbptt.__version__ == importlib.metadata.version("fastbptt") == _core.version


def test_run_time_needs() -> None:
    needs = importlib.metadata.requires("fastbptt") or []
    names = [need.split(">")[0] for need in needs if "extra" not in need]
    assert names == ["numpy", "tqdm"]


def test_files_of_the_package() -> None:
    package = files("fastbptt")
    assert (package / "py.typed").is_file()
    assert (package / "_core.pyi").is_file()
    assert (package / "datasets" / "data" / "japanese_vowels.npz").is_file()
    notice = package / "datasets" / "data" / "NOTICE"
    assert "10.24432/C5NS47" in notice.read_text(encoding="utf-8")


#: Modules whose examples need an optional package.
NEEDS = {
    "fastbptt.bench.systems.onnxruntime_step": "onnxruntime",
    "fastbptt.interchange.torch_weights": "torch",
    "fastbptt.interchange.keras_layers": "keras",
}
SECONDS = ("fastbptt.plot.gallery", "fastbptt.reporting")


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] if name in SECONDS else [])
        for name in ("fastbptt", *MODULES)
    ],
)
def test_examples_in_docstrings_run(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if name.startswith("fastbptt.torch"):
        pytest.importorskip("torch", reason="fastbptt.torch needs PyTorch")
    if name.startswith(("fastbptt.plot", "fastbptt.reporting")):
        pytest.importorskip("matplotlib").use("agg")
    if name in NEEDS:
        pytest.importorskip(NEEDS[name], reason=f"needs {NEEDS[name]}")
    flags = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    result = doctest.testmod(importlib.import_module(name), optionflags=flags)
    if (pyplot := sys.modules.get("matplotlib.pyplot")) is not None:
        pyplot.close("all")  # matplotlib warns of more than twenty
    assert result.failed == 0, capsys.readouterr().out


def test_public_names_are_documented() -> None:
    assert "load" in fastbptt.__all__
    for name in fastbptt.__all__:
        thing = getattr(fastbptt, name)
        if callable(thing) or inspect.ismodule(thing):
            assert (thing.__doc__ or "").strip(), name


def test_importing_loads_only_what_is_needed() -> None:
    code = (
        "import sys, json, numpy; before = set(sys.modules); import fastbptt;"
        "print(json.dumps(sorted({name.split('.')[0] for name in set(sys.modules) - before})))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(json.loads(done.stdout))
    assert "fastbptt" in loaded
    assert not loaded & {
        "tqdm",
        "matplotlib",
        "sklearn",
        "argparse",
        "asyncio",
        "unittest",
        "torch",
    }
