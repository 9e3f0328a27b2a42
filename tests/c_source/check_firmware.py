"""C files of all cells: through three compilers without a warning, and on an emulated Cortex-M4.

    python tests/c_source/check_firmware.py           # needs gcc, clang, gcc-arm-none-eabi,
                                                      # libnewlib-arm-none-eabi, qemu-system-arm

Run by the session `c_export` of noxfile.py. Each network runs over 10,000 steps on this machine and
over fewer on the emulated one; the outputs of both are compared with those of `model.step`.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import fastbptt
from fastbptt.c_source.literals import INTEGERS

HERE = Path(__file__).parent
STEPS = {"host": 10_000, "emulated": 1_000}
EVERY = 50  # of how many steps the outputs are printed
BOUND = 1e-6
CONSTANTS = (0.5, -0.25)
WARNINGS = [
    "-Wall",
    "-Wextra",
    "-Wconversion",
    "-Wpedantic",
    "-Wshadow",
    "-Wdouble-promotion",
    "-Wstrict-prototypes",
    "-Wmissing-prototypes",
    "-Werror",
]
C_ONLY = {"-Wstrict-prototypes", "-Wmissing-prototypes"}
CORTEX = [
    "arm-none-eabi-gcc",
    "-mcpu=cortex-m4",
    "-mthumb",
    "-mfpu=fpv4-sp-d16",
    "-mfloat-abi=hard",
]
COMPILERS: dict[str, list[str]] = {
    "GCC": ["gcc", "-std=c99"],
    "Clang": ["clang", "-std=c99"],
    "GCC for Cortex-M4": [*CORTEX, "-std=c99"],
    "GCC for Cortex-M0": ["arm-none-eabi-gcc", "-mcpu=cortex-m0", "-mthumb", "-std=c99"],
    "GCC as C++": ["g++", "-x", "c++", "-std=c++17"],
    "Clang as C++": ["clang++", "-x", "c++", "-std=c++17"],
}
#: What compilers and libraries of C may add; nothing else may be missing from an object file.
ALLOWED = {"memcpy", "memset", "expf", "exp", "log1pf", "log1p", "tanh", "_GLOBAL_OFFSET_TABLE_"}
RUNTIME = "__aeabi_"  # arithmetic that a processor does not have


class Subject(NamedTuple):
    """A network, how it is exported, and how far its outputs may be off."""

    model: fastbptt.Recurrent
    options: dict[str, Any] = {}  # noqa: RUF012  # nobody changes it
    bound: float = BOUND


def subjects() -> dict[str, Subject]:
    """Every cell alone, and every option of a network with some cell."""
    found = {}
    for cell in fastbptt.cells():
        alpha = 0.2 if cell.startswith("leaky") else None
        found[cell] = Subject(fastbptt.Recurrent(cell, 3, 16, 2, alpha=alpha, seed=0))
    found["stack"] = Subject(fastbptt.GRU(3, 12, 2, num_layers=3, seed=0))
    found["learned"] = Subject(fastbptt.LSTM(3, 9, 2, learn_initial_state=True, bias=False, seed=0))
    found["units"] = Subject(fastbptt.RNN(3, 16, 2, readout_units=range(5, 12), seed=0))
    found["states"] = Subject(fastbptt.GRU(3, 7, seed=0))
    found["softmax"] = Subject(fastbptt.GRU(3, 16, 3, seed=0), {"loss": "cross_entropy"})
    rows = np.random.default_rng(0).normal(20.0, 3.0, (1, 50, 3))
    scaled = {"standardizer": fastbptt.Standardizer().fit(rows)}
    found["scaled"] = Subject(fastbptt.GRU(3, 16, 2, seed=0), scaled)
    for weights in ("int8", "int16"):
        found[weights] = Subject(fastbptt.LSTM(3, 16, 2, seed=0), {"weights": weights}, 0.02)
    found["doubles"] = Subject(fastbptt.GRU(3, 8, 2, dtype="float64", seed=0), bound=1e-14)
    found["constants"] = Subject(fastbptt.LSTM(3, 8, 2, num_layers=2, static_size=2, seed=0))
    found["tokens"] = Subject(fastbptt.GRU(3, 8, 2, embedding=11, seed=0))
    return found


def inputs(steps: int, size: int) -> np.ndarray[Any, Any]:
    """Numbers from -1 to 1 that C computes alike: a linear congruential generator."""
    seeds, seed = np.empty(steps * size, np.int64), 1
    for i in range(seeds.size):
        seed = (seed * 1103515245 + 12345) % 2**32
        seeds[i] = seed >> 16
    return (seeds.reshape(steps, size) - 32768) / 32768


MAIN = """
static uint32_t seed;
static float number(void)
{{
    seed = seed * 1103515245u + 12345u;
    return (float)((int32_t)(seed >> 16) - 32768) / 32768.0f;
}}
static void show(double value)
{{
    char text[18];
    union {{ double value; uint64_t bits; }} one;
    int i;
    one.value = value;
    for (i = 0; i < 16; ++i)
        text[i] = "0123456789abcdef"[(one.bits >> (60 - 4 * i)) & 15];
    text[16] = '\\n';
    text[17] = 0;
    print(text);
}}
int main(void)
{{
    int i, t;
{calls}    return 0;
}}
"""
PRINT = """\
#include <stdio.h>
void print(const char *text);
void print(const char *text)
{
    fputs(text, stdout);
}
"""


def call(name: str, subject: Subject, steps: int) -> str:
    """The code that runs one network and prints its outputs."""
    real, size = ("double" if name == "doubles" else "float"), subject.model.input_size
    read = f"for (i = 0; i < {size}; ++i)\n                x[i] = number();"
    argument, static = "x", ", constants" * (name == "constants")
    if name == "scaled":
        read = read.replace("number()", "20.0f + 3.0f * number()")
    if name == "tokens":
        read, argument = "token = (int32_t)(5.5f + 5.5f * number());", "token"
    return f"""\
    {{
        {name}_state state;
        {real} x[{size}], y[{name.upper()}_OUTPUTS];
        static const float constants[2] = {{{CONSTANTS[0]}f, {CONSTANTS[1]}f}};
        int32_t token = 0;
        (void)x;
        (void)token;
        (void)constants;
        seed = 1;
        {name}_reset(&state{static});
        for (t = 0; t < {steps}; ++t) {{
            {read}
            {name}_step(&state, {argument}, y);
            if (t % {EVERY} == {EVERY - 1})
                for (i = 0; i < {name.upper()}_OUTPUTS; ++i)
                    show((double)y[i]);
        }}
    }}
"""


def expected(name: str, subject: Subject, steps: int) -> list[float]:
    """The outputs of `step`."""
    model = subject.model
    x = inputs(steps, 1 if name == "tokens" else model.input_size)
    if name == "tokens":
        x = (5.5 + 5.5 * x[:, 0]).astype(np.int64)
    elif name == "scaled":
        standardizer = subject.options["standardizer"]
        x = standardizer.transform((20.0 + 3.0 * x).astype(np.float32), dtype="float64")
    static = [CONSTANTS] if name == "constants" else None
    state, outputs = model.initial_state(1, static=static), []
    for t in range(steps):
        y = model.step(x[t : t + 1].astype(model.dtype if x.dtype.kind == "f" else x.dtype), state)
        if t % EVERY == EVERY - 1:
            outputs.append(y[0])
    found = np.stack(outputs)
    if "loss" in subject.options:
        found = fastbptt.Loss(subject.options["loss"]).predictions(found)
    return found.ravel().tolist()


def run(*command: str) -> str:
    """Run a command; return what it prints."""
    both = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}  # semihosting writes to stderr
    done = subprocess.run(command, text=True, check=False, timeout=300, **both)
    if done.returncode:
        print(" ".join(command), done.stdout, sep="\n", file=sys.stderr)
        raise SystemExit(1)
    return done.stdout


def check_objects(names: list[str]) -> None:
    """Compile everything with every compiler; look at the symbols of the objects."""
    for title, compiler in COMPILERS.items():
        flags = [one for one in WARNINGS if "++" not in compiler[0] or one not in C_ONLY]
        for name in names:
            run(*compiler, "-O2", *flags, "-c", f"{name}.c", "-o", f"{name}.o")
            for line in run("nm", f"{name}.o").splitlines():
                kind, symbol = line.split()[-2:]
                if kind == "U" and not symbol.startswith(RUNTIME):
                    assert symbol in ALLOWED, f"{title}: {name}.o needs {symbol}"
                base = Path(name).name
                public = (f"{base}_reset", f"{base}_step", f"{base}_run")
                # text, or constants that are read only: no variable anywhere
                assert kind in "UtTrR" and (kind != "T" or symbol in public), f"{title}: {line}"
        print(f"{title}: {len(names)} files without a warning")


def compare(where: str, printed: str, found: dict[str, Subject]) -> None:
    """Compare printed outputs with those of the models."""
    values = [np.uint64(int(word, 16)).view(np.float64).item() for word in printed.split()]
    worst = {}
    for name, subject in found.items():
        wanted = expected(name, subject, STEPS[where])
        mine, values = values[: len(wanted)], values[len(wanted) :]
        assert len(mine) == len(wanted), f"{where}: {name} printed too little"
        worst[name] = float(np.abs(np.subtract(mine, wanted)).max())
        assert worst[name] <= subject.bound, f"{where}: {name} is off by {worst[name]:.3g}"
    assert not values, f"{where}: too much was printed"
    shown = ", ".join(f"{name} {error:.1e}" for name, error in worst.items())
    print(f"{where}, {STEPS[where]} steps: off by at most {shown}")


def check_sizes(place: Path) -> None:
    """Compare the sizes that docs/c_export.md states with those of this compiler."""
    page = (HERE.parents[1] / "docs" / "c_export.md").read_text("utf-8")
    rows = re.findall(r"^\| (float|int\d+) \|" + r" (\d+) bytes \|" * 4, page, re.MULTILINE)
    assert len(rows) == 1 + len(INTEGERS)
    for kind, *stated in rows:
        weights = None if kind == "float" else kind
        made = fastbptt.GRU(3, 16, 1, seed=0).export_c(place / "filter.c", weights=weights)
        run(*CORTEX, "-std=c99", "-Os", "-c", made.source, "-o", str(place / "filter.o"))
        total, data, bss = run("arm-none-eabi-size", str(place / "filter.o")).split()[6:9]
        constants, code, state, stack = map(int, stated)
        assert data == bss == "0"
        assert (constants, state, stack) == (made.constants, made.state, made.stack)
        measured = int(total) - made.constants
        assert 0.85 < code / measured < 1.15, f"{kind}: {measured} bytes of code, not {code}"
        print(f"{kind}: {made.constants} bytes of constants, {measured} bytes of code")


def main() -> None:
    found = subjects()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        for name, subject in found.items():
            subject.model.export_c(place / f"{name}.c", **subject.options)
        includes = "".join(f'#include "{name}.h"\n' for name in found)
        for where, steps in STEPS.items():
            head = "#include <stdint.h>\n" + includes
            head += PRINT if where == "host" else "void print(const char *text);\n"
            calls = "".join(call(name, one, steps) for name, one in found.items())
            (place / f"{where}.c").write_text(head + MAIN.format(calls=calls))
        with_place = [str(place / f"{name}.c") for name in found]
        check_objects([str(place / name) for name in found])
        check_sizes(place)
        host = str(place / "host")
        sanitized = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
        for options in ([], sanitized):
            run("gcc", "-std=c99", "-O2", *options, f"{host}.c", *with_place, "-o", host, "-lm")
            compare("host", run(host), found)
        board = str(place / "board.elf")
        script, startup = HERE / "firmware" / "mps2.ld", HERE / "firmware" / "startup.c"
        options = ["-std=gnu99", "-O2", "-nostartfiles", "-specs=nano.specs", f"-T{script}"]
        sources = [str(startup), str(place / "emulated.c"), *with_place]
        run(*CORTEX, *options, *sources, "-o", board, "-lm", "-lc", "-lnosys")
        emulator = [
            "qemu-system-arm",
            "-M",
            "mps2-an386",
            "-display",
            "none",
            "-monitor",
            "none",
            "-serial",
            "none",
        ]
        emulator += ["-semihosting-config", "enable=on,target=native", "-kernel"]
        compare("emulated", run(*emulator, board), found)
        print(run("arm-none-eabi-size", board))


if __name__ == "__main__":
    main()
