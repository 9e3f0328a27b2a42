"""Mistakes for the C++ core: a table, and sources in which each of them can be switched on.

All mutants are compiled at once: where one stands, the code asks at run time whether it is the one
that the environment variable `FASTBPTT_MUTANT` names.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
CPP = ROOT / "cpp"
ABSENT = """\
FASTBPTT_ABSENT(avx512bf16, "")
FASTBPTT_ABSENT(avx512, "")
FASTBPTT_SET(avx2, "", __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
FASTBPTT_ABSENT(neon, "")"""
#: Two instruction sets, which share their code with the others, compiled quickly.
FEWER = [
    ("CMakeLists.txt", " -Os)", " -O1)"),
    ("CMakeLists.txt", "(kernel_flags -O3", "(kernel_flags -O1 -fexpensive-optimizations"),
    ("CMakeLists.txt", "(units portable avx2 avx512)", "(units portable avx2)"),
    ("isa/list.inc", "#if defined(__x86_64__)", f"#if defined(__x86_64__)\n{ABSENT}\n#elif 0"),
]


@dataclass(frozen=True)
class CppMutant:
    """`place`: text of the file, with what is replaced between « and »; a statement ends in ;."""

    file: str
    place: str
    new: str

    @property
    def old(self) -> str:
        return self.place.split("«")[1].split("»")[0]

    def span(self, text: str) -> tuple[int, int]:
        """Where the replaced text stands in its file; ValueError if it is not there once."""
        before, rest = self.place.split("«")
        old, after = rest.split("»")
        if (found := text.count(before + old + after)) != 1:
            raise ValueError(f"{self.file}: {self.place!r} is there {found} times")
        start = text.index(before + old + after) + len(before)
        return start, start + len(old)

    def switched(self, number: int) -> str:
        on = f"FASTBPTT_IS_MUTANT({number})"
        if self.old.endswith(";"):
            return f"{{ if ({on}) {{ {self.new} }} else {{ {self.old} }} }}"
        return f"({on} ? ({self.new}) : ({self.old}))"


HEADER = """\
#pragma once
extern int fastbptt_mutant;
#define FASTBPTT_IS_MUTANT(number) (fastbptt_mutant == (number))
"""
VARIABLE = """
#include <cstdlib>
static const char* const number_of_mutant = std::getenv("FASTBPTT_MUTANT");
int fastbptt_mutant = number_of_mutant ? std::atoi(number_of_mutant) : 0;
"""


def switch_all(sources: dict[str, str], mutants: list[CppMutant]) -> dict[str, str]:
    """Sources by path in cpp/ with a switch for each mutant, numbered from 1."""
    spans: dict[str, list[tuple[int, int, str]]] = {}
    for number, mutant in enumerate(mutants, 1):
        start, end = mutant.span(sources[mutant.file])
        spans.setdefault(mutant.file, []).append((start, end, mutant.switched(number)))
    changed = {}
    for file, all_spans in spans.items():
        text = sources[file]
        for start, end, new in sorted(all_spans, reverse=True):
            text = text[:start] + new + text[end:]
        changed[file] = text
    return changed


def line_of(mutant: CppMutant) -> int:
    text = (CPP / mutant.file).read_text("utf-8")
    return text[: mutant.span(text)[0]].count("\n") + 1


def table() -> list[CppMutant]:
    """The mutants of `cpp_mutants.txt`, in its order."""
    text = (Path(__file__).parent / "cpp_mutants.txt").read_text("utf-8")
    found: list[CppMutant] = []
    file, place = "", ""
    for line in text.split("\n"):
        if line.startswith("== "):
            file, place = line[3:], ""
        elif line.startswith("=>"):
            found.append(CppMutant(file, place.strip("\n"), line[2:].strip()))
            place = ""
        elif file:
            place += line + "\n"
    return found


def build(folder: Path, targets: Sequence[str]) -> tuple[Path, Path]:
    """Build the extension and the C++ tests, with all mutants: quickly made rather than fast."""
    source, made = folder / "source", folder / "made"
    sources = {str(path.relative_to(CPP)): path.read_text("utf-8") for path in CPP.rglob("*.*")}
    sources |= switch_all(sources, table())
    sources["errors.cpp"] += VARIABLE
    for file, old, new in FEWER:
        if old not in sources[file]:
            raise ValueError(f"{file}: no {old!r}")
        sources[file] = sources[file].replace(old, new)
    for name, text in sources.items():
        write(source / "cpp" / name, text)
    write(source / "CMakeLists.txt", (ROOT / "CMakeLists.txt").read_text("utf-8"))
    write(source / "mutants.h", HEADER)
    configured = made / "build.ninja"
    if not configured.exists():
        import pybind11

        options = {
            "CMAKE_BUILD_TYPE": "Mutants",
            "CMAKE_CXX_FLAGS": f"-O1 -include {source / 'mutants.h'}",
            "FASTBPTT_TESTS": "ON",
            "FASTBPTT_AVX512BF16": "OFF",
            "Python_EXECUTABLE": sys.executable,
            "pybind11_DIR": pybind11.get_cmake_dir(),
            "SKBUILD_PROJECT_VERSION_FULL": "0",
        }
        command = ["cmake", "-S", source, "-B", made, "-G", "Ninja"]
        command += [f"-D{key}={value}" for key, value in options.items()]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    for target in targets:
        command = ["cmake", "--build", str(made), "--target", target, "--parallel", "6"]
        subprocess.run([*command, "--", "-k", "0"], check=True)
    (extension,) = made.rglob("_core*.so")
    return extension, made / "cpp" / "tests" / "fastbptt_tests"


def write(path: Path, text: str) -> None:
    """Write a file, unless it has this text already."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists() or path.read_text("utf-8") != text:
        path.write_text(text, "utf-8")
