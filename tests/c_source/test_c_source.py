"""Models as C: the text, refusals, and, where there is a compiler, what the program computes."""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

import fastbptt
from fastbptt import _losses
from fastbptt.c_source import writing
from fastbptt.c_source.formulas import CELLS
from fastbptt.c_source.links import LINKS
from fastbptt.c_source.literals import INTEGERS, rounded
from fastbptt.models import _options, exporting

Array = NDArray[Any]
COMPILER = shutil.which("cc")
STEPS = 300


def net(cell: str = "gru", /, *sizes: int, **options: Any) -> fastbptt.Recurrent:
    """A network of any cell."""
    alpha = 0.3 if cell.startswith("leaky") else None
    return fastbptt.Recurrent(cell, *(sizes or (3, 5, 2)), alpha=alpha, **{"seed": 0, **options})


# ---------------------------------------------------------------- registries


def test_every_cell_has_formulas() -> None:
    assert set(CELLS) == set(fastbptt.cells()), "add the cell to src/fastbptt/c_source/formulas.py"


def test_a_cell_without_formulas_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(CELLS, "gru")
    with pytest.raises(ValueError, match='cell is "gru", which has no formulas in C; expected one'):
        net().export_c(tmp_path / "a.c")
    assert not list(tmp_path.iterdir())


def test_every_link_is_written() -> None:
    assert set(LINKS) == set(_losses.LINKS)


# ---------------------------------------------------------------- what a program computes


class Case(NamedTuple):
    """A model, how it is exported, and what its outputs must be, from inputs (steps, features)."""

    model: fastbptt.Recurrent
    options: dict[str, Any]
    x: Array
    expected: Callable[[], Array]
    bound: float = 1e-6


def stepped(model: fastbptt.Recurrent, x: Array, static: Any = None) -> Array:
    """The outputs of `step`, (steps, outputs)."""
    state = model.initial_state(1, static=static)
    return np.stack([model.step(x[t : t + 1], state)[0] for t in range(len(x))])


STATIC = np.array([[0.5, -0.25]])
RNG = np.random.default_rng(0)
NUMBERS = RNG.normal(size=(STEPS, 3)).astype(np.float32)
TOKENS = RNG.integers(0, 7, STEPS)
PHYSICAL = (1e5 + 30 * NUMBERS).astype(np.float32)
GAPS = PHYSICAL.copy()
GAPS[::3, 1] = np.nan
SCALER = fastbptt.Standardizer().fit(PHYSICAL.astype(np.float64) + 1e-3)
IMPUTER = fastbptt.Imputer().fit([GAPS])


def cases() -> dict[str, Case]:
    """Every cell with some option of a network, every link, inputs in units, rounded weights."""
    found = {}

    def add(name: str, model: fastbptt.Recurrent, x: Array = NUMBERS, **options: Any) -> None:
        static = STATIC if model.static_size else None
        found[name] = Case(model, options, x, lambda: stepped(model, x, static))

    add("rnn", net("rnn", bias=False, output_bias=True))
    add("relu", net("relu", 3, 4))
    add("leaky", net("leaky", num_layers=2, learn_initial_state=True))
    for cell in CELLS:
        if cell.startswith("rnn_"):
            add(cell, net(cell, num_layers=2))
        if cell.startswith("leaky_"):
            add(cell, net(cell, num_layers=2, learn_initial_state=True, learn_alpha=True))
    units = RNG.uniform(0.1, 1.0, (2, 5))
    kind = {"formulation": "preactivation", "nonlinearity": "softplus", "alpha": units}
    add("leaky_units", fastbptt.LeakyRNN(3, 5, 2, num_layers=2, static_size=2, seed=0, **kind))
    add("gru", net("gru", num_layers=3))
    add("gru_before", net("gru_before", bias=False))
    add("lstm", net("lstm", num_layers=2, static_size=2, learn_initial_state=True))
    add("lstm_units", net("lstm", readout_units=[0, 3]))
    add("low_rank", net("gru", num_layers=2, rank=2))
    add("tokens", net("gru", 3, 5, 2, embedding=7), TOKENS)
    add("doubles", net("lstm", dtype="float64"), NUMBERS.astype(np.float64))
    double = net("gru", dtype="float64")
    found["narrowed"] = Case(
        double, {"dtype": "float32"}, NUMBERS, lambda: stepped(double, NUMBERS.astype(np.float64))
    )
    for loss in ("bce", "cross_entropy", "poisson", "gaussian", "hinge", "quantile"):
        outputs = 3 if loss == "quantile" else 2
        model = net("rnn", 3, 4, outputs)
        case = Case(
            model,
            {"loss": loss},
            NUMBERS,
            lambda m=model, one=loss: fastbptt.Loss(one).predictions(stepped(m, NUMBERS)),
        )
        found[loss] = case
    scaled, filled = net("gru"), net("gru", 4, 5, 2)
    z = SCALER.transform(GAPS, dtype="float32")
    found["units"] = Case(
        scaled,
        {"standardizer": SCALER},
        PHYSICAL,
        lambda: stepped(scaled, SCALER.transform(PHYSICAL, dtype="float32")),
    )
    found["gaps"] = Case(
        filled,
        {"standardizer": SCALER, "imputer": IMPUTER},
        GAPS,
        lambda: stepped(filled, IMPUTER.transform([z])[0]),
    )
    for weights in INTEGERS:
        tokens = weights == "int16"
        size = {"embedding": 7} if tokens else {}
        model = net("lstm", static_size=2, **size)
        x = TOKENS if tokens else NUMBERS
        twin = model.copy()
        made = writing.Writer(described(model), "x", weights)
        twin.load_state_dict(made.restored)
        found[weights] = Case(
            model, {"weights": weights}, x, lambda t=twin, one=x: stepped(t, one, STATIC)
        )
    return found


def described(model: fastbptt.Recurrent) -> writing.NetworkDescription:
    """The description that `export_c` makes."""
    kept = []

    class Keep(writing.Writer):
        def __init__(self, network: Any, *rest: Any) -> None:
            kept.append(network)
            raise KeyError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exporting, "Writer", Keep)
        with pytest.raises(KeyError):
            model.export_c("x.c")
    return kept[0]


CASES = cases()


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """All cases in one shared library."""
    if COMPILER is None:
        pytest.skip("no C compiler, cc")
    place = tmp_path_factory.mktemp("c")
    for name, case in CASES.items():
        case.model.export_c(place / f"{name}.c", **case.options)
    command = [COMPILER, "-std=c99", "-O1", "-Wall", "-Wextra", "-Wconversion", "-Werror"]
    sources = [f"{name}.c" for name in CASES]
    command += ["-shared", "-fPIC", *sources, "-o", "all.so", "-lm"]
    subprocess.run(command, cwd=place, check=True)
    return ctypes.CDLL(str(place / "all.so"))


def pointer(array: Array) -> ctypes.c_void_p:
    assert array.flags.c_contiguous
    return ctypes.c_void_p(array.ctypes.data)


class Program:
    """The functions of one exported model."""

    def __init__(self, library: ctypes.CDLL, name: str) -> None:
        self.model = CASES[name].model
        self.reset, self.step, self.run = (
            getattr(library, f"{name}_{one}") for one in ("reset", "step", "run")
        )
        info = fastbptt._core.cell_info(self.model.cell)
        states = info["given"] + len(info["states"])  # the struct has h of all cells
        self.state = np.full((states, self.model.num_layers, self.model.hidden_size), np.nan)
        self.dtype = np.dtype(CASES[name].options.get("dtype", self.model.dtype))
        self.state = self.state.astype(self.dtype)

    def start(self) -> None:
        constants = STATIC.astype(self.dtype)
        self.reset(pointer(self.state), *([pointer(constants)] * bool(self.model.static_size)))

    def outputs(self, x: Array, by_step: bool) -> Array:
        width = self.model.output_size or self.model.hidden_size
        y = np.full((len(x), width), np.nan, self.dtype)
        if self.model.vocabulary_size:
            x = x.astype(np.int32)
        if not by_step:
            self.run(pointer(self.state), pointer(x), ctypes.c_size_t(len(x)), pointer(y))
            return y
        for t in range(len(x)):
            one = ctypes.c_int32(x[t]) if self.model.vocabulary_size else pointer(x[t])
            self.step(pointer(self.state), one, pointer(y[t]))
        return y


@pytest.mark.parametrize("name", CASES)
def test_the_program_computes_the_same(library: ctypes.CDLL, name: str) -> None:
    case, program = CASES[name], Program(library, name)
    expected = case.expected()
    for by_step in (False, True):
        program.start()
        found = program.outputs(case.x, by_step)
        scale = np.maximum(1.0, np.abs(expected))
        assert np.abs((found - expected) / scale).max() <= case.bound
    assert np.abs(expected).max() > 0.01


def test_a_token_that_does_not_exist(library: ctypes.CDLL) -> None:
    program = Program(library, "tokens")
    program.start()
    before, y = program.state.copy(), np.zeros(2, np.float32)
    for token in (-1, 7, 2**31 - 1):
        assert program.step(pointer(program.state), ctypes.c_int32(token), pointer(y)) == -1
    assert (program.state == before).all() and not y.any()
    tokens, outputs = np.array([1, 7, 2], np.int32), np.zeros((3, 2), np.float32)
    code = program.run(
        pointer(program.state), pointer(tokens), ctypes.c_size_t(3), pointer(outputs)
    )
    assert code == -1 and outputs[0].any() and not outputs[1:].any()
    assert program.step(pointer(program.state), ctypes.c_int32(6), pointer(y)) == 0


def test_nan_does_not_become_a_number(library: ctypes.CDLL) -> None:
    for name in ("rnn", "relu", "gru", "lstm_units", "doubles", "hinge", "cross_entropy"):
        program = Program(library, name)
        program.start()
        x = NUMBERS[:4].astype(program.model.dtype)
        x[2, 1] = np.nan
        found = program.outputs(x, by_step=False)
        assert np.isfinite(found[:2]).all() and np.isnan(found[2:]).all(), name


def test_large_sums_saturate(library: ctypes.CDLL) -> None:
    """Where pre-activations go up to 1e30."""
    for name in ("rnn", "leaky", "gru", "gru_before", "lstm_units"):
        program = Program(library, name)
        program.start()
        x = (NUMBERS[:20] * np.float32(1e30)).astype(program.model.dtype)
        assert np.abs(program.outputs(x, False) - stepped(program.model, x)).max() <= 1e-6


def test_streams_do_not_touch_each_other(library: ctypes.CDLL) -> None:
    one, two = Program(library, "gru"), Program(library, "gru")
    one.start()
    two.start()
    alone = one.outputs(NUMBERS[:20], by_step=True)
    one.start()
    mixed = []
    for t in range(20):
        mixed.append(one.outputs(NUMBERS[t : t + 1], True)[0])
        two.outputs(NUMBERS[50 + t : 51 + t], True)
    assert (np.stack(mixed) == alone).all()


# ---------------------------------------------------------------- the text


def text(path: Path) -> tuple[str, str]:
    return path.read_text("ascii"), path.with_suffix(".h").read_text("ascii")


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("weights", [None, *INTEGERS])
def test_the_file_holds_nothing_but_constants(
    cell: str, weights: str | None, tmp_path: Path
) -> None:
    made = net(cell).export_c(tmp_path / "a.c", weights=weights)
    source, header = text(tmp_path / "a.c")
    types = {None: "float", "int8": "int8_t", "int16": "int16_t"}
    arrays = re.findall(r"^static (.*?)\w+\[(\d+)\] = {$", source, re.MULTILINE)
    assert {one for one, _ in arrays} == {"const float ", f"const {types[weights]} "}
    assert not re.search(
        r"^(?!static const |static inline |static void |void )\w.*[=;]$", source, re.M
    )
    sizes = {"float": 4, "int8_t": 1, "int16_t": 2}
    assert made.constants == sum(sizes[one.split()[1]] * int(count) for one, count in arrays)
    assert f"{made.constants} bytes of constants" in header
    needed = "std(def|int)|math" if cell.endswith("softplus") else "std(def|int)"  # for log and exp
    assert not re.search(rf"alloc\(|#include <(?!({needed}).h)", source + header)
    (own,), (other,) = (re.findall(r"A_EXPORT (?:!= )?(0x\w+)", one) for one in (source, header))
    assert own == other
    assert all(source.count(bracket) == source.count(end) for bracket, end in ("{}", "()", "[]"))


def test_the_weights_are_those_of_the_model(tmp_path: Path) -> None:
    model = net("lstm", dtype="float32")
    model.export_c(tmp_path / "a.c")
    source, _ = text(tmp_path / "a.c")
    for name, values in model.parameters.items():
        (block,) = re.findall(rf" a_{name}\[{values.size}\] = {{\n(.*?)}};", source, re.DOTALL)
        found = np.array([np.float32(one) for one in re.findall(r"[-+.\de]+(?=f)", block)])
        assert (found == values.ravel()).all()


def test_equal_models_give_equal_files(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        net().export_c(tmp_path / name / "m.c")
    assert text(tmp_path / "a" / "m.c") == text(tmp_path / "b" / "m.c")


def test_names_from_elsewhere_stay_in_their_comment(tmp_path: Path) -> None:
    model = net("rnn", 2, 3, 2)
    names = ["*/ int x; /*", "w\u00e4rme\n#error ??/"]
    model.metadata = {"feature_names": names, "classes": names, "steps": "all"}
    model.export_c(tmp_path / "a.c")
    _, header = text(tmp_path / "a.c")
    code = re.sub(r"/\*.*?\*/", "", header, flags=re.DOTALL)
    assert "int x" not in code and "#error" not in code and "??" not in header
    assert "x[0]: * / int x; / *" in header


@pytest.mark.parametrize(
    ("noted", "steps", "told"),
    [({"steps": "last"}, "last", True), ({}, "last", False), ({"steps": "all"}, "all", False)],
)
def test_the_header_tells_which_outputs_were_trained(
    tmp_path: Path, noted: dict[str, Any], steps: str, told: bool
) -> None:
    model = net("rnn", 3, 4, 1)
    targets = np.zeros((1, len(NUMBERS), 1)) if steps == "all" else [1]
    model.train_step(NUMBERS[np.newaxis], targets, fastbptt.SGD(), steps=steps)
    model.metadata = noted
    model.export_c(tmp_path / "a.c")
    assert ("Training looked at the last step" in text(tmp_path / "a.c")[1]) == told


def test_the_error_of_rounded_weights() -> None:
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(6, 9)).astype(np.float32) * np.logspace(-40, 3, 6)[:, np.newaxis]
    matrix[3] = 0
    for weights, (kind, most) in INTEGERS.items():
        whole = rounded(matrix.astype(np.float32), weights)
        assert whole.whole.dtype == kind and np.abs(whole.whole).max() == most
        largest = np.abs(matrix).max(axis=1, keepdims=True)
        # at most half a step, but for rows so small that float32 has lost their digits
        off = np.abs(whole.restored().astype(np.float64) - matrix.astype(np.float32))
        assert (off <= largest / most * 0.5001 + 1e-42).all()
        assert not whole.restored()[3].any()


def test_the_measured_error(tmp_path: Path) -> None:
    model, x = net("gru", 3, 16, 2), RNG.normal(size=(4, 50, 3))
    made = {one: model.export_c(tmp_path / "a.c", weights=one, data=x) for one in INTEGERS}
    coarse, fine = (made[one].output_error for one in INTEGERS)
    assert coarse is not None and fine is not None
    assert 1e-4 < coarse < 0.02 and coarse / 1000 < fine < coarse / 50
    assert f"by at most {fine:.2g}." in text(tmp_path / "a.c")[1].replace("\n  ", "")
    ragged = model.export_c(tmp_path / "a.c", weights="int8", data=[x[0], x[1, :20]])
    assert ragged.output_error is not None and 0 < ragged.output_error <= coarse
    unscaled = 7 + 2 * x.reshape(-1, 3)
    scaler = fastbptt.Standardizer().fit(unscaled)
    options: dict[str, Any] = {"standardizer": scaler, "loss": "cross_entropy"}
    probs = model.export_c(tmp_path / "a.c", weights="int8", data=7 + 2 * x, **options)
    assert probs.output_error is not None and 0 < probs.output_error < coarse


# ---------------------------------------------------------------- names and refusals


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("filter", "filter"),
        ("My Filter-2", "my_filter_2"),
        ("2nd", "model_2nd"),
        ("\u00e4", "model"),
        ("__x__y", "x_y"),
        ("int", "int"),
        ("a" * 60, "a" * 40),
    ],
)
def test_the_name_comes_from_the_file(file: str, name: str, tmp_path: Path) -> None:
    made = net("rnn").export_c(tmp_path / f"{file}.c")
    assert made.name == name
    source, header = ((tmp_path / f"{file}{end}").read_text("utf-8") for end in (".c", ".h"))
    assert f"void {name}_reset(" in header and f'#include "{file}.h"\n' in source


def tampered(key: str, value: float) -> fastbptt.Recurrent:
    model = net()
    model.parameters[key][0] = value
    return model


def huge() -> fastbptt.Recurrent:
    model = net(dtype="float64")
    model.parameters["W_xh"][0, 0] = 1e300
    return model


def noted(**metadata: Any) -> fastbptt.Recurrent:
    model = net()
    model.metadata = metadata
    return model


def pooled() -> fastbptt.Recurrent:
    model = net("rnn", 3, 4, 1)
    model.train_step(NUMBERS[np.newaxis], [1], fastbptt.SGD(), steps="mean")
    return model


REFUSED: list[tuple[Callable[[], fastbptt.Recurrent], str, dict[str, Any], str]] = [
    (net, "a.cpp", {}, 'path is ".*a.cpp"; expected a file that ends in ".c"'),
    (net, "math.c", {}, "expected another name: math.h is a header of the C library"),
    (lambda: net("rnn", 3, 4, 1), "a.c", {"loss": "cross_entropy"}, "makes 1 of any single output"),
    (net, 'a"b.c', {}, "expected a name without quotes, .*: it stands in an #include"),
    (net, "a.c", {"name": "2nd"}, 'name is "2nd"; expected a name in C'),
    (net, "a.c", {"name": "a__b"}, 'name is "a__b"; expected a name in C'),
    (net, "a.c", {"name": "a" * 41}, "expected a name in C of at most 40"),
    (net, "a.c", {"name": 3}, "name is 3; expected a name in C"),
    (net, "a.c", {"weights": "int4"}, 'weights is "int4"; expected one of "int8", "int16"'),
    (net, "a.c", {"dtype": "int8"}, 'dtype is "int8"; expected "float32" or "float64"'),
    (huge, "a.c", {"dtype": "float32"}, "the model's W_xh holds values too large"),
    (net, "a.c", {"raw": 1}, "raw is 1; expected True or False"),
    (
        net,
        "a.c",
        {"data": NUMBERS[np.newaxis]},
        'data is given; expected None unless weights="int8',
    ),
    (
        net,
        "a.c",
        {"data": NUMBERS[np.newaxis, :, :2], "weights": "int8"},
        r"data has shape \(1, 300, 2\)",
    ),
    (
        lambda: net(static_size=2),
        "a.c",
        {"data": NUMBERS[np.newaxis], "weights": "int8"},
        "data is given; expected None: data holds no static inputs",
    ),
    (lambda: net(bidirectional=True), "a.c", {}, "has bidirectional=True; expected one direction"),
    (lambda: tampered("b_h", np.nan), "a.c", {}, r"the model holds nan in b_h at index \(0,\)"),
    (lambda: tampered("W_hy", np.inf), "a.c", {}, r"the model holds inf in W_hy at index \(0, 0\)"),
    (net, "a.c", {"standardizer": 3}, "standardizer is 3; expected a fitted fastbptt.Standardizer"),
    (net, "a.c", {"standardizer": fastbptt.Standardizer()}, "not fitted"),
    (
        lambda: net("rnn", 2, 3),
        "a.c",
        {"standardizer": SCALER},
        "standardizer has 3 features; expected 2",
    ),
    (net, "a.c", {"imputer": IMPUTER}, "imputer makes 4 inputs of 3 features; expected 3"),
    (lambda: net(embedding=7), "a.c", {"standardizer": SCALER}, "None: the model reads tokens"),
    (net, "a.c", {"loss": "quantile"}, "3 outputs for each target, but the model has 2"),
    (net, "a.c", {"loss": len}, "loss is a function"),
    (
        lambda: noted(standardize=SCALER.to_dict()),
        "a.c",
        {},
        "standardizer is None, but the model's metadata have standardize; expected standardizer=",
    ),
    (lambda: noted(imputer=IMPUTER.to_dict()), "a.c", {}, "imputer is None, but the model's"),
    (lambda: noted(loss="cross_entropy"), "a.c", {}, "loss is None, but the model's metadata"),
    (lambda: noted(target_offset=[1e7, 1e7]), "a.c", {}, "metadata have a target_offset"),
    (lambda: noted(steps="max"), "a.c", {}, 'trained with steps="max"'),
    (pooled, "a.c", {}, 'trained with steps="mean"'),
    (
        net,
        "a.c",
        {"standardizer": fastbptt.Standardizer.from_dict({"mean": [0] * 3, "scale": [1e-60] * 3})},
        "standardizer has a mean or scale that float32 cannot hold; expected numbers of another",
    ),
]


@pytest.mark.parametrize(("make", "file", "options", "message"), REFUSED)
def test_what_is_refused(
    make: Callable[[], fastbptt.Recurrent],
    file: str,
    options: dict[str, Any],
    message: str,
    tmp_path: Path,
) -> None:
    with pytest.raises((ValueError, TypeError), match=message) as caught:
        make().export_c(tmp_path / file, **options)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "make",
    [
        lambda: noted(standardize=SCALER.to_dict(), loss="bce", steps="mean", target_offset=[1, 1]),
        pooled,
        lambda: noted(loss="mse"),
        lambda: noted(loss="not one"),
    ],
)
def test_raw_is_the_network_alone(make: Callable[[], fastbptt.Recurrent], tmp_path: Path) -> None:
    model = make()
    model.export_c(tmp_path / "a.c", raw=True)
    noted_source = text(tmp_path / "a.c")[0]
    model.metadata = {}
    model.export_c(tmp_path / "a.c", raw=True)
    assert text(tmp_path / "a.c")[0] == noted_source


def test_a_model_that_computes_in_bfloat16_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_options, "can_run", lambda spec: None)  # wherever it would run
    model = fastbptt.GRU(2, 4, 1, precision="bfloat16", seed=0)
    with pytest.raises(ValueError, match=r'has precision="bfloat16".*load_state_dict'):
        model.export_c(tmp_path / "m.c")
    assert not list(tmp_path.iterdir())


def test_too_many_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "MOST_NUMBERS", 100)
    with pytest.raises(ValueError, match=r"the model has \d+ parameters; expected at most 100"):
        net().export_c(tmp_path / "a.c")


def test_a_write_that_fails_leaves_whole_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    net().export_c(tmp_path / "a.c")
    before = text(tmp_path / "a.c")
    real = exporting.write_whole

    def fails(path: str, content: bytes) -> None:
        if path.endswith(".c"):
            raise OSError(28, "No space left on device", path)
        real(path, content)

    monkeypatch.setattr(exporting, "write_whole", fails)
    with pytest.raises(OSError, match="No space left"):
        net(seed=1).export_c(tmp_path / "a.c")
    source, header = text(tmp_path / "a.c")
    assert source == before[0] and header != before[1]
    # the old source does not compile with the new header
    assert re.findall("0x\\w{8}", source)[0] not in header
    assert len(list(tmp_path.iterdir())) == 2


def test_a_place_for_the_header_is_needed(tmp_path: Path) -> None:
    (tmp_path / "a.h").mkdir()
    with pytest.raises(IsADirectoryError):
        net().export_c(tmp_path / "a.c")
    assert not (tmp_path / "a.c").exists()
