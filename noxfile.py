"""The steps of the gate, a session each: ``nox -s types`` runs one, ``nox -l`` lists them.

``.ci/run`` runs them on a clean clone, those tagged ``cpp`` beside those tagged ``python``:
``nox -t cpp`` runs one of the groups. Sessions that need the built package share the environment
of the session ``wheel``; the C++ sessions use the presets of ``CMakePresets.json``.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nox

ROOT = Path(__file__).parent
PYPROJECT = nox.project.load_toml(ROOT / "pyproject.toml")
PROJECT = PYPROJECT["project"]
WHEELS = ROOT / "build" / "wheel"
DATA = ROOT / "build" / "data"
SITE = ROOT / "build" / "site"
PYTHONS = ("3.10", "3.11", "3.12", "3.13", "3.14", "3.13t", "3.14t")  # t: free-threaded
WHEEL_LIMIT = 2_000_000  # bytes
PLATFORMS = {"linux": 24, "macos": 12, "windows": 6, "pyodide": 2}  # wheels
OLDER = {"Nehalem": ("portable",)}  # instruction sets there
TORCH = "torch==2.13.0"
TORCH_INDEX = "https://download.pytorch.org/whl/cpu"
FULL_GRID = {"FASTBPTT_TEST_GRID": "full"}
CHECK_WHEEL = ("-W", "error", str(ROOT / "tests" / "wheels" / "check_wheel.py"))

nox.needs_version = ">=2025.5"
nox.options.reuse_venv = "yes"
nox.options.stop_on_first_error = True
nox.options.error_on_external_run = True


def requirement(package: str) -> str:
    """The version that pyproject.toml asks for."""
    lines: list[str] = PROJECT["optional-dependencies"]["dev"]
    return next(line for line in lines if line.startswith(package))


def installed(session: nox.Session, program: str) -> str:
    """A program of the environment with the package: pass it to `run` with external=True."""
    return str(ROOT / session.cache_dir.parent / "wheel" / "bin" / program)


@nox.session(tags=["python"])
def style(session: nox.Session) -> None:
    """Ruff: rules and format."""
    session.install(requirement("ruff"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session(venv_backend="none", tags=["python"])
def words(session: nox.Session) -> None:
    """The standard terms, in code and in prose."""
    session.run(sys.executable, "scripts/check_words.py")


@nox.session(tags=["python"])
def types(session: nox.Session) -> None:
    """Mypy, strict."""
    session.install(requirement("mypy"), requirement("nox"), *PROJECT["dependencies"])
    session.run("mypy")


@nox.session(tags=["python"])
def wheel(session: nox.Session) -> None:
    """Build the wheel and install it, with the tools that need it, for the sessions below."""
    shutil.rmtree(WHEELS, ignore_errors=True)
    session.run("pip", "wheel", "--no-deps", "--wheel-dir", str(WHEELS), ".", silent=True)
    (built,) = WHEELS.glob("*.whl")
    session.install("--force-reinstall", "--no-deps", str(built))
    session.install(f"{built}[dev,docs]")
    size = built.stat().st_size
    session.log(f"{built.name}: {size} bytes")
    if size >= WHEEL_LIMIT:
        session.error(f"the wheel must stay under {WHEEL_LIMIT} bytes")


@nox.session(venv_backend="none", requires=["wheel"], tags=["python"])
def stub(session: nox.Session) -> None:
    """The stub of the extension against the extension, outside of src/."""
    session.chdir(session.create_tmp())
    # Not in the stub: the metaclass of pybind11's classes, the constructors of what engines make.
    allowed = Path("allowed")
    names = ("[A-Z]\\w*", "Tape\\.__init__", "TrainingData\\.__init__")
    allowed.write_text("".join(f"fastbptt\\._core\\.{name}\n" for name in names))
    command = ["-m", "mypy.stubtest", "--allowlist", str(allowed), "fastbptt._core"]
    session.run(installed(session, "python"), *command, external=True)


@nox.session(venv_backend="none", tags=["cpp"])
def cpp_style(session: nox.Session) -> None:
    """clang-format of every C++ file."""
    files = [path for path in Path("cpp").rglob("*") if path.suffix in {".h", ".cpp", ".inc"}]
    session.run(
        "clang-format", "--dry-run", "-Werror", *map(str, sorted(files)), external=True, log=False
    )


def configure(session: nox.Session, preset: str) -> None:
    """Configure the C++ build of a preset, with CMake and Ninja from the package index."""
    session.install("cmake>=3.20", "ninja")
    ninja = shutil.which("ninja", path=session.bin)
    session.run("cmake", "--preset", preset, f"-DCMAKE_MAKE_PROGRAM={ninja}", silent=True)


def cpp_tests(session: nox.Session, preset: str, grid: str = "") -> None:
    """Build a preset and run its tests: so many cases, if FASTBPTT_TEST_GRID does not say it."""
    configure(session, preset)
    jobs = str(os.cpu_count())
    environment = {"FASTBPTT_TEST_GRID": os.environ.get("FASTBPTT_TEST_GRID", grid)}
    session.run("cmake", "--build", "--preset", preset, "--parallel", jobs, silent=True)
    session.run("ctest", "--preset", preset, "--parallel", jobs, env=environment)


@nox.session(tags=["cpp"])
def cpp_sanitized(session: nox.Session) -> None:
    """C++ tests under the address and undefined-behaviour sanitizers."""
    cpp_tests(session, "asan", "few")


@nox.session(tags=["cpp"])
def cpp_threads(session: nox.Session) -> None:
    """C++ tests under the thread sanitizer."""
    cpp_tests(session, "tsan", "fewest")


@nox.session(tags=["cpp"])
def cpp_release(session: nox.Session) -> None:
    """C++ tests, every shape."""
    cpp_tests(session, "release", "full")


@nox.session(tags=["cpp"])
def cpp_lint(session: nox.Session) -> None:
    """clang-tidy on every file of the C++ build; .inc files through the units that include them.

    Its analyzer, which takes most of the time, leaves out what it would only see again: tests, and
    units whose code is all in the portable one and the last one for AVX-512. It goes through a
    tenth of the paths that it would by itself: of the engine, for half a minute instead of three.
    """
    configure(session, "asan")
    ignored = (
        "unknown-warning-option",
        "ignored-optimization-argument",
        "unused-command-line-argument",  # GCC's --param
        "c++2b-extensions",  # attributes of lambdas
    )
    options = [f"-extra-arg=-Wno-{warning}" for warning in ignored]
    paths = ("-Xclang", "-analyzer-config", "-Xclang", "max-nodes=20000")
    options += [f"-extra-arg={one}" for one in paths]
    command = ["run-clang-tidy", "-quiet", "-p", "build/asan", "-j", str(os.cpu_count()), *options]
    light = r"/cpp/(tests/|isa/avx(2|512)\.cpp)"
    for files in ([f"^(?!.*{light})"], ["-checks=-clang-analyzer-*", light]):
        session.run(*command, *files, external=True, silent=True)


@nox.session(tags=["cpp"])
def cpp_aarch64(session: nox.Session) -> None:
    """C++ tests for 64-bit Arm, under qemu."""
    cpp_tests(session, "aarch64", "fewest")


# Not in the gate: building takes minutes, and the tests five times as long as without.
@nox.session(tags=["long"], default=False)
def python_sanitized(session: nox.Session) -> None:
    """Python tests, all or those given, under the address and undefined-behaviour sanitizers."""
    flags = ("cmake.define.FASTBPTT_SANITIZE=address", "cmake.build-type=RelWithDebInfo")
    session.install(".[test]", *(f"--config-settings={flag}" for flag in flags))
    libraries = [
        (session.run("c++", f"-print-file-name={name}", external=True, silent=True) or "").strip()
        for name in ("libasan.so", "libubsan.so", "libstdc++.so")
    ]
    environment = {
        "LD_PRELOAD": " ".join(libraries),
        "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1",
        "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
        "PYTHONMALLOC": "malloc",
    }
    session.run("pytest", "-q", *(session.posargs or ("tests",)), env=environment)


# Not in the gate: their compilers are not in its cache, and building takes minutes.
@nox.session(tags=["platforms"], default=False)
def cpp_windows(session: nox.Session) -> None:
    """C++ tests for 64-bit Windows, by MinGW-w64's compiler, under Wine."""
    cpp_tests(session, "windows")


@nox.session(tags=["platforms"], default=False)
def cpp_wasm(session: nox.Session) -> None:
    """C++ tests for WebAssembly, by Emscripten, under node."""
    cpp_tests(session, "wasm")


@nox.session(venv_backend="none", tags=["cpp"])
def pythons(session: nox.Session) -> None:
    """Build and check the package on every other supported Python that is found."""
    temporary = ROOT / session.create_tmp()
    for version in PYTHONS:
        python = find_python(version)
        if python is None or version == f"{sys.version_info.major}.{sys.version_info.minor}":
            continue  # the Python of all other sessions
        environment = temporary / version
        session.run(python, "-m", "venv", "--clear", str(environment), external=True)
        pip = str(environment / "bin" / "pip")
        session.run(pip, "install", ".", external=True, silent=True)
        with session.chdir(temporary):
            session.run(str(environment / "bin" / "python"), *CHECK_WHEEL, external=True, log=False)
        if version.endswith("t"):
            packages = ["hypothesis", "pytest", "pytest-xdist", "threadpoolctl"]
            packages += ["--only-binary", "hypothesis"]  # newer ones are built from Rust
            session.run(pip, "install", *packages, external=True, silent=True)
            tests = [
                f"tests/models/{name}.py" for name in ("test_threads_of_python", "test_threads_use")
            ]
            pytest = str(environment / "bin" / "pytest")
            session.run(pytest, "-q", "-p", "no:cacheprovider", *tests, external=True)


def find_python(version: str) -> str | None:
    """Path of an interpreter that runs, is of this version and has venv."""
    number, free = version.rstrip("t"), "t" * version.endswith("t")
    found = sorted(Path.home().glob(f".pyenv/versions/{number}.*{free}/bin/python"))
    candidates = [str(path) for path in found] + [shutil.which(f"python{version}") or ""]
    kind = "'t' * bool(sysconfig.get_config_var('Py_GIL_DISABLED'))"
    own = f"'%d.%d' % sys.version_info[:2] + {kind}"
    test = f"import sys, sysconfig, venv; sys.exit({own} != '{version}')"
    for python in filter(None, candidates):
        if subprocess.run([python, "-c", test], capture_output=True, check=False).returncode == 0:
            return python
    return None


@nox.session(tags=["python"])
def data(session: nox.Session) -> None:
    """Download packages that hold time series and reviews, 17 MB, for examples and tests."""
    download = ["pip", "download", "--no-deps", "--dest", str(DATA)]
    session.run(*download, "aeon==1.6.0", "sktime==1.2.0", silent=True)
    session.run(*download, "--no-binary", ":all:", "vaderSentiment==3.3.2", silent=True)


@nox.session(venv_backend="none", requires=["wheel", "data"], tags=["python"])
def examples(session: nox.Session) -> None:
    """Every example, in its quick form."""
    session.chdir(session.create_tmp())
    for example in sorted(ROOT.glob("examples/*.py")):
        command = [installed(session, "python"), "-W", "error", str(example), "--quick"]
        session.run(*command, external=True, silent=True, env={"FASTBPTT_DATA": str(DATA)})


def installed_wheel() -> Path:
    """The wheel that the session `wheel` built."""
    (built,) = WHEELS.glob("*.whl")
    return built


@nox.session(requires=["wheel"], tags=["python"])
def interchange(session: nox.Session) -> None:
    """Networks from and to PyTorch, Keras and ONNX Runtime: tests, and the pages that need them."""
    if not has_package(session, "torch"):
        # the index's own wheels hold gigabytes for graphics cards
        quick = ["--retries", "0", "--timeout", "15", "--index-url", TORCH_INDEX]
        session.run("pip", "install", TORCH, *quick, success_codes=[0, 1, 2], silent=True)
    packages = ["keras>=3.5", "h5py>=3.10", "onnx>=1.17", "onnxruntime>=1.20"]
    session.install(f"{installed_wheel()}[test]", TORCH, *packages)
    folders = [name for name in ("tests/interchange", "tests/torch") if (ROOT / name).is_dir()]
    environment = {"KERAS_BACKEND": "torch"}
    session.run("pytest", "-q", *folders, env=environment)
    chosen = ["-k", "interchange or torch", "tests/project/test_docs.py"]
    session.run("pytest", "-q", *chosen, "tests/project/test_package.py", env=environment)


def install_beside(session: nox.Session, extra: str, *packages: str) -> None:
    """Add to the environment of `wheel` what one of the package's extras asks for."""
    command = [installed(session, "pip"), "install", f"{installed_wheel()}[{extra}]", *packages]
    session.run(*command, external=True, silent=True)


@nox.session(venv_backend="none", requires=["wheel"], tags=["python"])
def mpi(session: nox.Session) -> None:
    """One network on two and three ranks, with an MPI from the package index."""
    install_beside(session, "mpi", "mpich>=4.3")
    command = [installed(session, "python"), "-W", "error", "tests/mpi/check_ranks.py"]
    session.run(*command, external=True)


def has_package(session: nox.Session, name: str) -> bool:
    """Whether the session's environment has a package already."""
    code = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({name!r}) is None)"
    python = str(Path(session.bin) / "python")
    return subprocess.run([python, "-c", code], check=False).returncode == 0


@nox.session(venv_backend="none", requires=["wheel"], tags=["python"])
def sweeps(session: nox.Session) -> None:
    """Sweeps on joblib, Optuna, Dask with two workers and Ray; the script for SLURM."""
    install_beside(session, "sweeps")
    command = [installed(session, "pytest"), "-q", "--numprocesses=2", "tests/sweeps"]
    session.run(*command, external=True, env=FULL_GRID)


@nox.session(venv_backend="none", requires=["wheel"], tags=["python"])
def docs(session: nox.Session) -> None:
    """Every page of the documentation, a warning being an error; its notebooks and figures."""
    shutil.rmtree(SITE, ignore_errors=True)
    options = ["-W", "--keep-going", "-q", "-c", "docs"]
    session.run(installed(session, "sphinx-build"), *options, ".", str(SITE), external=True)
    figures = [installed(session, "python"), "-W", "error", "docs/make_figures.py"]
    session.run(*figures, f"{session.create_tmp()}/figures", external=True, silent=True)


@nox.session(venv_backend="none", requires=["docs"], tags=["python"])
def browser(session: nox.Session) -> None:
    """A report and the site open without complaints and without a network, and fit a phone."""
    python = [installed(session, "python"), "-W", "error"]
    picture = f"{session.create_tmp()}/report.png"
    session.run(*python, "tests/browser/check_report.py", "--picture", picture, external=True)
    session.run(*python, "tests/browser/check_site.py", str(SITE), external=True)


def clone_path(session: nox.Session) -> Path:
    """Where clones are built, one after the other."""
    return ROOT / session.cache_dir / "readme" / "fastbptt"


def run_readme(session: nox.Session, name: str, **environment: str) -> None:
    """Run the commands below the README's comment <!-- ci: NAME -->, as they stand, in a clone."""
    pattern = rf"^<!-- ci: {name} -->$.*?^```sh$\n(.*?)^```$"
    found = re.search(pattern, (ROOT / "README.md").read_text("utf-8"), re.DOTALL | re.MULTILINE)
    if found is None:
        session.error(f"README.md has no commands marked ci: {name}")
    clone = clone_path(session)
    shutil.rmtree(clone, ignore_errors=True)
    session.run("git", "clone", "--quiet", str(ROOT), str(clone), external=True)
    with session.chdir(clone):
        session.run("bash", "-euo", "pipefail", "-c", found[1], external=True, env=environment)


@nox.session(venv_backend="none", tags=["python"])
def readme_demo(session: nox.Session) -> None:
    """The README's first command: the demo, in an empty environment."""
    run_readme(session, "demo")


@nox.session(venv_backend="none", requires=["wheel"], tags=["python"])
def processors(session: nox.Session) -> None:
    """The package on an older x86 processor under qemu: without AVX."""
    for processor, expected in OLDER.items():
        command = ["qemu-x86_64", "-cpu", processor, installed(session, "python")]
        session.run(*command, *CHECK_WHEEL, *expected, external=True, log=False)


@nox.session(tags=["python"])
def cibuildwheel(session: nox.Session) -> None:
    """What cibuildwheel would build for each platform."""
    session.install("cibuildwheel>=3.2")
    for platform, expected in PLATFORMS.items():
        command = ["cibuildwheel", "--print-build-identifiers", "--platform", platform]
        found = (session.run(*command, silent=True) or "").split()
        if len(found) != expected:
            session.error(f"{platform}: {len(found)} wheels, expected {expected}: {found}")


@nox.session(tags=["python"])
def sdist(session: nox.Session) -> None:
    """The source distribution, and a wheel of it without a network but for what it names."""
    session.install("build")
    folder, unpacked = Path(session.create_tmp()).resolve(), clone_path(session)
    shutil.rmtree(folder, ignore_errors=True)
    session.run("python", "-m", "build", "--sdist", "--outdir", str(folder), silent=True)
    (archive,) = folder.glob("*.tar.gz")
    shutil.rmtree(unpacked, ignore_errors=True)
    unpacked.mkdir(parents=True)
    unpack = ["tar", "xf", str(archive), "-C", str(unpacked), "--strip-components=1"]
    session.run(*unpack, external=True)
    packages = PYPROJECT["build-system"]["requires"]
    session.run("pip", "download", "--dest", str(folder), *packages, "cmake", "ninja", silent=True)
    alone = ["--no-index", "--find-links", str(folder), "--no-deps"]
    session.run("pip", "wheel", *alone, "--wheel-dir", str(folder), str(unpacked), silent=True)


@nox.session(venv_backend="none", requires=["wheel"], tags=["python"])
def c_export(session: nox.Session) -> None:
    """Models as C files: three compilers without a warning, and an emulated Cortex-M4."""
    command = [installed(session, "python"), "-W", "error", "tests/c_source/check_firmware.py"]
    session.run(*command, external=True)


# Not among those that `nox` runs: pytest has the last word in .ci/run, so this runs on its own.
@nox.session(venv_backend="none", requires=["data"], default=False)
def readme_tests(session: nox.Session) -> None:
    """The README's second command: all tests."""
    run_readme(session, "tests", FASTBPTT_DATA=str(DATA))
