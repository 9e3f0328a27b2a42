"""Advice works: each message that says what to do is met, what it says is done, and that succeeds.

An entry is a call that fails, a pattern that finds the advice in its message, and what follows it,
with the pattern's groups in place of \\1, \\2. A message with advice that no entry meets fails the
last test, which reads the sources.
"""

from __future__ import annotations

import ast
import contextlib
import io
import os
import re
import shlex
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from accuracy import HAS_BFLOAT16
from fake_ranks import ranks

import fastbptt
from fastbptt import cli, datasets

ROOT = Path(fastbptt.__file__).parent

# ---------------------------------------------------------------- files


def table(rows: int = 12, steps: int = 3) -> str:
    """Columns id, step, a, b, label (x, y), n (numbers); b is a word on every row."""
    lines = [
        f"{i},{t},{t * i % 5},{'pq'[t % 2]},{'xy'[i % 2]},{i + 0.5}"
        for i in range(rows)
        for t in range(steps)
    ]
    return "\n".join(["id,step,a,b,label,n", *lines, ""])


TABLE = table()
PLAIN = TABLE.replace(",p,", ",0,").replace(",q,", ",1,")
BARE = PLAIN.split("\n", 1)[1]
NO_LABEL = PLAIN.replace(",label,", ",what,")
NUMBERS = re.sub(r",[xy],", ",0,", PLAIN)
X = np.random.default_rng(0).normal(size=(12, 4, 2))
METER = "id,step,a,n\n" + "".join(
    f"{i},{t},{1e9 + t / 8 * (i % 2)},{i + 0.5}\n" for i in range(8) for t in range(3)
)
TS = "@classLabel true x y\n@data\n1,2,3:x\n2,1,2:y\n3,2,1:x\n"

FILES: dict[str, Any] = {
    "good.csv": PLAIN,
    "words.csv": TABLE,
    "semicolon.csv": PLAIN.replace(",", ";"),
    "bare.csv": BARE,
    "what.csv": NO_LABEL,
    "numbers.csv": PLAIN.replace(",label,", ",kind,").replace(",x,", ",1,").replace(",y,", ",2,"),
    "bits.csv": PLAIN.replace(",x,", ",0,").replace(",y,", ",1,"),
    "two_bits.csv": PLAIN.replace(",x,", ",0,").replace(",y,", ",1,").replace(".5\n", "\n"),
    "gap.csv": PLAIN.replace("\n3,1,3,", "\n3,1,,"),
    "mistyped.csv": PLAIN.replace("3,1,3,1,y", "3,1,3,1,x"),
    "unlabelled.csv": PLAIN.replace("3,1,3,1,y", "3,1,3,1,"),
    "only_weights.csv": "id,step,a,b,n,w\n1,1,2,3,1,1\n1,2,2,3,1,1\n",
    "silent.csv": re.sub(r"\n(3,.*),y,", r"\n\1,,", PLAIN),
    "weighed.csv": re.sub(
        r"\n(\d+)(,.*)",
        lambda row: f"\n{row[1]}{row[2]},{int(row[1] == '3')}",
        re.sub(r"\n(3,.*),y,", r"\n\1,,", PLAIN).replace(",n\n", ",n,w\n"),
    ),
    "parts.csv": PLAIN.replace(",label,n\n", ",m,n\n").replace(",x,", ",,").replace(",y,", ",1.5,"),
    "gap_b.csv": PLAIN.replace("3,1,3,1,", "3,1,3,,"),
    "mixed.csv": PLAIN.replace("3,1,3,1,y", "3,1,3,1,").replace("4,1,4,1,x", "4,1,4,1,y"),
    "names.csv": "id,step,a,what\n"
    + "".join(f"{i},{t},{t},{'xy'[i % 2]}\n" for i in range(6) for t in (0, 1)),
    "nameless.csv": PLAIN.replace("id,step,a,b", "id,step,,b"),
    "meter.csv": METER,
    "big.csv": PLAIN.replace("3,1,3,", "3,1,1e60,"),
    "big_target.csv": PLAIN.replace(",3.5\n", ",1e60\n"),
    "no_id.csv": PLAIN.replace("id,step", "who,when"),
    "no_step.csv": PLAIN.replace("id,step", "id,when"),
    "other_dates.csv": re.sub(r"\n(\d+),(\d)", r"\n\1,third \2", PLAIN),
    "backwards.csv": "id,when,a,label\n"
    + "".join(f"{i},2024-01-0{3 - t},{t},{'xy'[i % 2]}\n" for i in range(6) for t in range(3)),
    "decimals.csv": re.sub(r"(\d)\.5\n", r"1\1,500\n", PLAIN.replace(",", ";")),
    "one_class.csv": PLAIN.replace(",x,", ",y,"),
    "index.csv": PLAIN.replace("id,step,a,b", "id,step,a,Unnamed: 0"),
    "quoted.csv": PLAIN.replace("3,1,3,", '3,1,"3,5",'),
    "titled.csv": "Export\n" + PLAIN,
    "empty_column.csv": re.sub(r"\n(\d+,\d+),\d+", r"\n\1,", PLAIN),
    "many.csv": "id,step,a,n\n" + "".join(f"{i},{t},{t},{i}\n" for i in range(30) for t in (0, 1)),
    "either.csv": "id;a;v,n,label\n"
    + "".join(f"{i};{i % 3};7,{i % 3},{i % 2}\n" for i in range(9)),
    "years.csv": "id,2020,2025,label\n"
    + "".join(f"{i},{i % 3},{i},{'xy'[i % 2]}\n" for i in range(9)),
    "dated.csv": "id,"
    + ",".join(f"2015-07-0{day}" for day in range(1, 8))
    + "\n"
    + "".join(f"{i},{i},{i % 3},{i},1,2,3,{i}\n" for i in range(12)),
    "single.csv": "a,n\n" + "".join(f"{t},{t * 0.5}\n" for t in range(9)),
    "wide.tsv": "".join(f"{'xy'[i % 2]}\t{i}\t{i % 2}\t{i * i}\n" for i in range(6)),
    "labels.csv": "id,kind,other\n" + "".join(f"{i},{'xy'[i % 2]},{i}\n" for i in range(12)),
    "unnamed.csv": "\n".join(line.rsplit(",", 2)[0] for line in PLAIN.splitlines()) + "\n",
    "good.ts": TS,
    "gap.ts": TS.replace("2,1,2", "2,?,2"),
    "false.parquet": PLAIN,
    "table.xlsx": "",
    "series.tsf": "@attribute name string\n@data\na:1,2,3,4,5\nb:1,?,3,2,1\nc:5,3,1,1,2\n",
    "none.tsf": "@data\n1,2\n",
    "short.tsf": "@attribute name string\n@data\na:1,2,3\nb:1,2,3\n",
    "none.arff": "@data\n1,2\n",
    "numbers.arff": "@attribute a1 numeric\n@attribute a2 numeric\n@attribute t numeric\n@data\n"
    "1,2,3\n4,5,6\n",
    "good.npz": {"x": X, "y": np.arange(12) % 2},
    "floats.npz": {"x": X, "y": np.arange(12) % 3 * 1.0},
    "bits.npz": {"x": X, "y": np.arange(12) % 2 * 1.0},
    "hot.npz": {"x": X, "y": np.eye(3)[np.arange(12) % 3]},
    "flags.npz": {"x": X, "y": np.stack([np.arange(12) % 2, np.arange(12) // 6], 1) * 1.0},
    "one.npz": {"x": X[:, :, :1].repeat(2, 2), "y": np.arange(12) * 1.0},
    "steps.npz": {"x": X, "y": np.arange(48).reshape(12, 4) % 2},
    "tokens.npz": {"x": np.arange(48).reshape(12, 4) % 7, "y": np.arange(12) % 2},
    "gap.npz": {"x": np.where(np.arange(96).reshape(12, 4, 2) == 9, np.nan, X)},
    "keras.npz": {
        name: value
        for part in ("train", "test")
        for name, value in ((f"x_{part}", X), (f"y_{part}", np.arange(12) % 2))
    },
}

QUICK = ["-q", "--epochs", "1", "--hidden", "2"]
MODELS = {  # by the options of the training
    "classes.st": "train good.csv -o classes.st",
    "numbers.st": "train good.csv --target-column n --exclude-columns label -o numbers.st",
    "two.st": "train two_bits.csv --target-column label,n --loss mse -o two.st",
    "words.st": "train words.csv --category-columns b -o words.st",
    "bits.st": "train bits.npz -o bits.st",
    "steps.st": "train good.csv --steps all -o steps.st",
    "masked.st": "train gap.csv --missing mask -o masked.st",
}


def write(folder: Path) -> None:
    for name, content in FILES.items():
        if isinstance(content, dict):
            np.savez(folder / name, **content)
        else:
            (folder / name).write_text(content)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with all files and models, in which the entries run."""
    folder, before = tmp_path_factory.mktemp("advice"), os.getcwd()
    os.chdir(folder)
    try:
        write(folder)
        for line in MODELS.values():
            code, text = run(line)
            assert code == 0, text
        model = fastbptt.GRU(2, 3, 2, seed=0)
        model.save("plain.st")
        fastbptt.GRU(2, 3, seed=0).save("no_readout.st")
        model.save(
            "odd.st", metadata={"task": "classification", "settings": {"columns": {"id": 3}}}
        )
        task = {"task": "classification", "classes": ["u", "v"], "steps": "last"}
        model.save("plain3.st", metadata=task)
        yield folder
    finally:
        os.chdir(before)


def run(line: str) -> tuple[int, str]:
    """Run a command; return its code, and all that it printed."""
    words = shlex.split(line)
    if words[0] == "train":
        loud = "--loud" in words  # with the remarks that -q leaves out
        words = ["train", *QUICK[loud:], *(one for one in words[1:] if one != "--loud")]
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        try:
            code = cli.main(words)
        except SystemExit as end:
            code = int(end.code or 0)
    return code, out.getvalue()


# ---------------------------------------------------------------- the command line


class Command(NamedTuple):
    """A command whose output has advice: `code` 1 or 2, or 0 for a remark."""

    line: str
    advice: str
    follow: tuple[str, ...]
    code: int = 1


def command(line: str, advice: str, *follow: str, code: int = 1) -> Command:
    return Command(line, advice, follow, code)


TARGET = "--target-column n --exclude-columns label"
COMMANDS = [
    command(
        "train good.csv --optimizer adam:lr=0.1 --lr 0.2",
        r"(--lr) is 0.2, and --optimizer has lr=0.1; expected one of them",
        "train good.csv --optimizer adam \\1 0.2",
        "train good.csv --optimizer adam:lr=0.1",
    ),
    command(
        "train good.csv --cell leaky",
        r"expected a number above 0 and at most 1 after a colon, as in (leaky:0.1)",
        "train good.csv --cell \\1",
        code=2,
    ),
    # what a file holds beside data
    command(
        "train index.csv",
        r"expected (--exclude-columns) to leave it out, or (--feature-columns) to use it",
        "train index.csv \\1 'Unnamed: 0'",
        "train index.csv \\2 'Unnamed: 0',a",
    ),
    command(
        "train quoted.csv",
        r"\((--decimal) '(,)' reads it as a decimal mark\)",
        "train quoted.csv --decimal \\2 --exclude-columns n",
    ),
    command(
        "train titled.csv",
        r"delete the lines above the names of the columns",
        "train good.csv",
    ),
    command(
        "train empty_column.csv --missing interpolate",
        r"\((--exclude-columns) leaves the column out\)",
        "train empty_column.csv \\1 a",
    ),
    command(
        "train words.csv --feature-columns a,b",
        r"\((--category-columns) makes inputs of its names\)",
        "train words.csv --feature-columns a,b \\1 b",
    ),
    command(
        "train words.csv --target-column label --feature-columns a",
        r"\((--label-column) makes classes of its names\)",
        "train words.csv \\1 label --feature-columns a",
    ),
    command("info classes.st --threads 2", "expected no --threads", "info classes.st"),
    command(
        "predict classes.st good.csv --label-column a",
        r"expected another column, or (--no-labels)",
        "predict classes.st good.csv \\1",
    ),
    # what the columns are
    command("train no_step.csv", r"\n  fastbptt (train .*)", r"\1"),
    command(
        "train no_id.csv",
        r"(--id-column none): all rows are one",
        r"train no_id.csv \1 --step-column none --steps all",
    ),
    command(
        "train years.csv",
        r"or (--header first): these are names",
        r"train years.csv \1 --step-column none",
    ),
    command(
        "train dated.csv",
        r"(--layout wide) with (--id-column) and (--labels), or",
        r"train dated.csv \1 \2 id \3 labels.csv --label-column kind",
    ),
    command(
        "train bare.csv",
        r"or (--header none): the columns",
        r"train bare.csv \1 --id-column 1 --step-column 2 --label-column 5",
    ),
    command(
        "train wide.tsv",
        r"(--layout wide), a row per series",
        r"train wide.tsv --header none \1 --label-column 1",
    ),
    command(
        "train no_step.csv",
        r"(--step-column none): the rows .* already in order",
        r"train no_step.csv \1 --exclude-columns when",
    ),
    command(
        "train no_id.csv --step-column when",
        r"(--id-column none): all rows are one",
        r"train no_id.csv --step-column none \1 --steps all",
    ),
    command(
        "train other_dates.csv",
        r"\((--step-column none): the rows",
        r"train other_dates.csv \1 --exclude-columns step",
    ),
    command(
        "train backwards.csv --step-column none",
        r"(--step-column '?when'?) puts them",
        r"train backwards.csv \1",
    ),
    command(
        "train words.csv",
        r"\((--exclude-columns) leaves the column out; (--category-columns)",
        r"train words.csv \1 b",
        r"train words.csv \2 b",
    ),
    command(
        "train nameless.csv", r"or (--feature-columns) to leave it out", r"train nameless.csv \1 b"
    ),
    command(
        "train semicolon.csv --delimiter ,", r"perhaps (--delimiter ';')", r"train semicolon.csv \1"
    ),
    command(
        "train either.csv",
        r"expected (--delimiter) (\S+) or (\S+)",
        r"train either.csv --step-column none \1 \2 --id-column 'id;a;v'",
        r"train either.csv --step-column none \1 \3 --label-column v,n,label",
    ),
    command(
        "train decimals.csv " + TARGET,
        r"(--decimal ',') for the first",
        r"train decimals.csv \1 " + TARGET,
    ),
    command(
        "train decimals.csv --decimal . " + TARGET,
        r"but (--decimal '.'); expected",
        r"train decimals.csv --decimal , " + TARGET,
    ),
    command(
        "train good.csv --decimal ,",
        r"(--decimal ','), but a comma .* another (--delimiter)",
        rf"train decimals.csv --decimal , \2 ';' {TARGET}",
    ),
    command(
        "train good.csv --layout wide --step-column a",
        r"expected none with (--layout wide)",
        r"train wide.tsv \1 --header none --label-column 1",
    ),
    # labels
    command(
        "train unnamed.csv",
        r"(--label-column), (--target-column), (--labels)\)",
        r"train unnamed.csv \1 b --steps all",
        r"train unnamed.csv \2 a --loss mse --steps all",
        r"train unnamed.csv \3 labels.csv --label-column kind",
    ),
    command(
        "train names.csv", r"are these class names \((--label-column)\)", r"train names.csv \1 what"
    ),
    command(
        "train unnamed.csv --labels labels.csv",
        r"(--label-column) or (--target-column) to name one",
        r"train unnamed.csv --labels labels.csv \1 kind",
        r"train unnamed.csv --labels labels.csv \2 other",
    ),
    command(
        "train good.csv --labels labels.csv --id-column none",
        r"expected an id column",
        "train good.csv --labels labels.csv --id-column id --label-column kind "
        "--exclude-columns label",
    ),
    command(
        "train unnamed.csv --labels labels.csv --label-column kind --steps all",
        r"expected (--steps last)",
        r"train unnamed.csv --labels labels.csv --label-column kind \1",
    ),
    command("train mistyped.csv", r"or (--steps all)", r"train mistyped.csv \1"),
    command(
        "train mixed.csv",
        r"(--steps all) .*\((--unlabelled drop) leaves such rows out",
        r"train mixed.csv \1 \2",
    ),
    command(
        "train unlabelled.csv --steps all",
        r"\((--missing mask): such rows count nothing; (--unlabelled drop) leaves them out",
        r"train unlabelled.csv --steps all \1",
        r"train unlabelled.csv --steps all \2",
    ),
    command(
        "train silent.csv",
        r"\((--missing mask): such sequences count nothing",
        r"train silent.csv \1",
    ),
    command(
        "train gap.csv",
        r"(--missing interpolate) or (mask)",
        r"train gap.csv \1",
        r"train gap.csv --missing \2",
    ),
    command(
        "predict masked.st gap_b.csv",
        r"'b' has no value at step 2.*\(predict (--missing interpolate) fills gaps",
        r"predict masked.st gap_b.csv \1",
    ),
    command(
        "train weighed.csv --missing mask --weight-column w",
        "no label with a weight; expected at least one",
        "train weighed.csv --missing mask --exclude-columns w",
    ),
    command(
        "train parts.csv --target-column n,m --missing mask",
        r"or a model for each \((--target-column)\)",
        r"train parts.csv \1 n --exclude-columns m --missing mask",
        r"train parts.csv \1 m --exclude-columns n --missing mask",
    ),
    command(
        "report classes.st good.csv -o r.html --weight-column n",
        "--weight-column has no effect on a report.*expected none",
        "report classes.st good.csv -o r.html",
    ),
    command(
        "predict classes.st only_weights.csv --weight-column w",
        "has no labels; expected none",
        "predict classes.st only_weights.csv",
    ),
    command("train series.tsf", r"\n  fastbptt (train .*)", r"\1"),
    command(
        "train unlabelled.csv --unlabelled drop",
        r"expected (--steps all) with it",
        r"train unlabelled.csv --unlabelled drop \1",
    ),
    command(
        "train bits.csv --target-column label",
        r"(--label-column label) for classes, (--loss bce) .* (--loss mse)",
        r"train bits.csv \1",
        r"train bits.csv --target-column label \2",
        r"train bits.csv --target-column label \3",
    ),
    command(
        "train single.csv --loud --id-column none --step-column none --target-column n",
        r"\((--steps all)\)",
        r"train single.csv --id-column none --step-column none --target-column n \1",
        code=0,
    ),
    command(
        "train many.csv --loud --label-column n",
        r"for regression: (--target-column n)",
        r"train many.csv \1",
        code=0,
    ),
    command("train hot.npz", r"y.argmax\(axis=-1\), .* (--loss mse)", r"train hot.npz \1"),
    command(
        f"train good.csv {TARGET} --loss cross_entropy",
        r"expected (bce), .*, (huber), .*, (quantile)",
        r"train bits.csv --target-column label --loss \1",
        rf"train good.csv {TARGET} --loss \2",
        rf"train good.csv {TARGET} --loss \3",
    ),
    command(
        "train good.csv --loss mse",
        r"the labels are classes; expected (\w+)",
        r"train good.csv --loss \1",
    ),
    command(
        "train good.csv --metrics rmse",
        r"expected names from (\w+)",
        r"train good.csv --metrics \1",
    ),
    # missing values, digits, units
    command("train gap.csv", r"or (--missing interpolate)", r"train gap.csv \1"),
    command("train gap.ts", r"or (--missing interpolate)", r"train gap.ts \1"),
    command(
        "train meter.csv --target-column n --no-standardize",
        r"expected no --no-standardize, or (--dtype float64) with it",
        "train meter.csv --target-column n",
        r"train meter.csv --target-column n --no-standardize \1",
    ),
    command(
        "train big.csv --no-standardize",
        r"or training with (--dtype float64)",
        r"train big.csv --no-standardize \1",
    ),
    command(
        "train big_target.csv " + TARGET,
        r"or (--dtype float64)",
        rf"train big_target.csv {TARGET} \1",
    ),
    command(
        "train two_bits.csv --target-column label,n --loss huber",
        r"expected (mse), .*, (--no-standardize), or one target",
        r"train two_bits.csv --target-column label,n --loss \1",
        r"train two_bits.csv --target-column label,n --loss huber \2",
        "train two_bits.csv --target-column n --exclude-columns label --loss huber",
    ),
    command(
        f"train good.csv --loud {TARGET} --loss huber:delta=2",
        r"standard deviation is (\S+)",
        rf"train good.csv {TARGET} --loss huber:delta=\1",
        code=0,
    ),
    # training
    command(
        "train good.csv --patience 3",
        r"expected (--validation) or (--validation-data)",
        r"train good.csv --patience 3 \1 0.2",
        r"train good.csv --patience 3 \2 good.csv",
    ),
    command(
        f"train good.csv {TARGET} --class-weight balanced",
        r"--class-weight is for classes",
        "train good.csv --class-weight balanced",
    ),
    command(
        "train good.csv --resume",
        r"expected (--checkpoint) FILE",
        r"train good.csv --resume \1 c.st",
    ),
    command(
        "train tokens.npz --embedding 3 --noise 0.1",
        r"expected none with --embedding",
        "train tokens.npz --embedding 3",
    ),
    command(
        "train good.csv",
        r"add (--validation 0.2) or (--test) FILE",
        r"train good.csv \1",
        r"train good.csv \2 good.csv",
        code=0,
    ),
    command(
        f"train good.csv {TARGET} --lr 3e37 --epochs 3",
        r"a smaller (--lr)",
        rf"train good.csv {TARGET} \1 0.01",
    ),
    command(
        f"train good.csv {TARGET} --lr 1e38 --epochs 3",
        r"expected a smaller (--lr)",
        rf"train good.csv {TARGET} \1 0.01",
    ),
    command(
        "train good.csv --optimizer sgd:speed=3",
        r"expected KEY=VALUE of (\w+)",
        r"train good.csv --optimizer sgd:\1=0.1",
        code=2,
    ),
    command(
        "train good.csv --embedding 3",
        r"tokens are read from (\S+) files alone",
        r"train tokens\1 --embedding 3",
    ),
    command(
        "train good.npz --embedding 3",
        r"expected whole numbers of shape",
        "train tokens.npz --embedding 3",
    ),
    command(
        "train good.ts --id-column a",
        r"--id-column is for (\.csv).* files; expected none",
        "train good.ts",
        r"train no_id\1 --id-column who --step-column when",
    ),
    command("train good.ts --steps all", r"expected (\.csv)", r"train good\1 --steps all"),
    command("train good.npz --steps all", r"targets\): --steps all", "train steps.npz --steps all"),
    command("train steps.npz --steps last", r"or (--steps all): one per", r"train steps.npz \1"),
    command(
        "train table.xlsx",
        r"and write it as (\.csv), (\.npz) or (\.ts)",
        r"train good\1",
        r"train good\2",
        r"train good\3",
    ),
    command("train false.parquet", r"rename it: (\.csv)", r"train good\1"),
    command("train keras.npz", r"expected (--x-array) '(\w+)' or", r"train keras.npz \1 \2"),
    command(
        "train keras.npz --x-array x_train --test keras.npz",
        r"expected (--test-x-array)",
        r"train keras.npz --x-array x_train --test keras.npz \1 x_test",
    ),
    command(
        "train good.npz --test-x-array x",
        r"expected (--test) FILE with it",
        r"train good.npz --test-x-array x_test \1 keras.npz",
    ),
    command(
        "train good.csv --test good.csv --test-x-array x",
        r"--test-x-array is for .npz files; expected none",
        "train good.csv --test good.csv",
    ),
    command(
        "train short.tsf --ahead 3",
        r"the series has 3 values; expected more than --ahead 3",
        "train short.tsf --ahead 2",
    ),
    command(
        "train good.csv --optimizer fast",
        r"unknown; expected (\w+)",
        r"train good.csv --optimizer \1",
        code=2,
    ),
    command(
        "train good.csv --optimizer sgd:momentum=x",
        r"expected a number, true or false",
        "train good.csv --optimizer sgd:momentum=0.5",
        code=2,
    ),
    command(
        "train good.csv --cell fast",
        r"unknown; expected (\w+)",
        r"train good.csv --cell \1",
        code=2,
    ),
    command(
        "train good.csv --metrics fast",
        r"expected names from (\w+), .*, or (all)",
        r"train good.csv --metrics \1",
        code=2,
    ),
    command("train good.csv -o good.csv", r"expected another file", "train good.csv -o other.st"),
    command("train one_class.csv", r"expected at least two classes", "train good.csv"),
    # options without an effect
    command(
        "predict classes.st good.csv --feature-columns a,b",
        "has no effect: .*expected none",
        "predict classes.st good.csv",
    ),
    command(
        "predict classes.st good.csv --no-labels --label-column label",
        "has no effect with --no-labels; expected none",
        "predict classes.st good.csv --no-labels",
    ),
    command(
        "predict classes.st good.csv --steps all --label-column label",
        "with --steps all, another form than in training; expected none",
        "predict classes.st good.csv --steps all",
    ),
    command(
        "train tokens.npz --embedding 2 --no-standardize",
        "--no-standardize is for numbers; expected none",
        "train tokens.npz --embedding 2",
    ),
    command(
        "bench --json --output csv",
        "--output: csv is not allowed with argument --json",
        "bench --json --preset tutorial --batch 2 --time 3 --rounds 1",
        code=2,
    ),
    command(
        "bench --pass forward --loss mse --preset tutorial",
        "--loss: not allowed with argument --pass forward",
        "bench --pass forward --preset tutorial --batch 2 --time 3 --rounds 1",
        code=2,
    ),
    # other files for a model
    command(
        "predict bits.st floats.npz", r"expected the classes 0 and 1", "predict bits.st bits.npz"
    ),
    command(
        "predict classes.st names.csv",
        r"that classes.st was trained on: (.*)",
        "predict classes.st good.csv",
        r"train good.csv --feature-columns '\1'",
    ),
    command(
        "predict no_readout.st good.npz",
        r"expected one with a readout",
        "predict plain.st good.npz",
    ),
    command(
        "predict plain3.st floats.npz",
        r"\((--no-labels): ignore the labels\)",
        r"predict plain3.st floats.npz \1",
    ),
    command(
        "predict classes.st mistyped.csv",
        r"\((--no-labels): ignore the labels\)",
        r"predict classes.st mistyped.csv \1",
    ),
    command(
        "predict two.st one.npz",
        r"\((--no-labels): ignore the labels\)",
        r"predict two.st one.npz \1",
    ),
    command(
        "predict steps.st unlabelled.csv",
        r"\((--no-labels): ignore the labels\)",
        r"predict steps.st unlabelled.csv \1",
    ),
    command(
        "predict classes.st good.csv --unlabelled drop",
        r"expected none: each row",
        "predict classes.st good.csv",
    ),
    command(
        "predict words.st words.csv --category-columns b",
        r"has no effect: .*expected none",
        "predict words.st words.csv",
    ),
    command(
        "predict classes.st good.csv --exclude-columns a",
        r"has no effect: .*expected none",
        "predict classes.st good.csv",
    ),
    command(
        "predict numbers.st good.csv --probabilities",
        r"expected no --probabilities",
        "predict numbers.st good.csv",
    ),
    command(
        "report plain.st good.npz -o r.html",
        r"a model of `fastbptt (train)`",
        r"\1 good.csv -o again.st",
    ),
    command(
        "predict odd.st good.npz", r"what `fastbptt (train)` writes", r"\1 good.csv -o again.st"
    ),
]


@pytest.mark.parametrize("entry", COMMANDS, ids=[one.line for one in COMMANDS])
def test_commands(entry: Command, place: Path) -> None:
    code, text = run(entry.line)
    SAID[entry.line] = text
    assert code == entry.code, text
    found = re.search(entry.advice, text, re.DOTALL)
    assert found, text
    for one in entry.follow:
        line = found.expand(one)
        code, text = run(line)
        assert code == 0, f"{line}\n{text}"


# ---------------------------------------------------------------- Python


class Call(NamedTuple):
    """Statements that fail, and what follows the advice; `needs`: a module."""

    code: str
    advice: str
    follow: tuple[str, ...]
    needs: str = ""


def call(code: str, advice: str, *follow: str, needs: str = "") -> Call:
    return Call(code, advice, follow, needs)


def names() -> dict[str, Any]:
    """What the statements use, made afresh: nothing that one of them does reaches another."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(12, 4, 2))
    return {
        "np": np,
        "numpy": np,
        "fastbptt": fastbptt,
        "datasets": datasets,
        "x": x,
        "y": x[:, -1, 0] + 0.3,
        "marks": np.arange(48).reshape(12, 4) % 5 == 2,
        "k": np.arange(12) % 3,
        "net": fastbptt.GRU(2, 4, 1, seed=0),
        "net3": fastbptt.GRU(2, 4, 3, seed=0),
        "tokens": fastbptt.GRU(3, 4, 1, embedding=9, padding_index=0, seed=0),
        "one": fastbptt.GRU(1, 4, 1, seed=0),
        "once": {"epochs": 1, "verbose": 0},
        "fit": fastbptt.fit,
        "fit_many": fastbptt.fit_many,
        "several": [fastbptt.GRU(2, 4, 1, seed=seed) for seed in range(3)],
        "on_ranks": on_ranks,
        "series": np.cumsum(rng.normal(size=60)),
        "quick": {"hidden_layer_sizes": 3, "max_iter": 2, "random_state": 0},
    }


def on_ranks(function: Callable[[Any], Any]) -> None:
    """Call a function on two ranks, which have a processor each; raise what one of them raises."""
    threads = fastbptt.get_num_threads()
    said = io.StringIO()
    fastbptt.set_num_threads(1)
    try:
        with contextlib.redirect_stderr(said):
            found, _ = ranks(2, function)
    finally:
        fastbptt.set_num_threads(threads)
    for one in found:
        if isinstance(one, Exception):
            raise RuntimeError(said.getvalue() or str(one)) from one


SK = (
    "from fastbptt.sklearn import *\nimport pandas, pandas as pd\n"
    "C, R, F = RecurrentClassifier(**quick), RecurrentRegressor(**quick), "
    "RecurrentForecaster(6, 3, **quick)\n"
)
FRAME = (
    SK + "df = pd.DataFrame({'who': [1, 1, 2, 2], 'day': [1, 2, 1, 2], 'v': [.1, .2, .3, .4], "
    "'label': ['p', 'p', 'q', 'q']})\n"
)
DATES = "days = pd.date_range('2024-01-01', periods=60)\n"
SCENE = "d = max(datasets.make_scenes(9, seed=0).clips, key=lambda clip: clip.label.max())\n"
MONITORED = "m = fastbptt.GradientMonitor(); fit(net, x, y, callbacks=[m], **once)\n"
FLIPS = (
    "from fastbptt import predict\nfrom fastbptt.datasets import tasks\ntask = tasks.FlipFlop()\n"
    "trials, model = task.trials(2, seed=0), fastbptt.RNN(3, 4, 3, seed=0)\n"
)
CURVE = "from fastbptt.datasets.tasks import psychometric\nboth = np.array([True, False])\n"

PICTURE = (
    "from matplotlib.figure import Figure\n"
    "found = fastbptt.diagnostics.fixed_points(net, [0.0, 0.0], 5, data=x)\n"
)
BATCHES = "b = iter([(x, np.ones(12))] * 4)\n"
PARTS = "two = fastbptt.GRU(2, 4, 2, seed=0); y = x * 1.0; y[2, 1, 0] = np.nan\n"
OWN = "def own(z, y, w): return 0.0, 0 * z\n"
SCALED = (
    "s = fastbptt.Standardizer().fit(x); m = fastbptt.GRU(2, 3, 1)\n"
    "m.metadata['standardize'] = s.to_dict(); "
)
BFLOAT16 = (  # on processors without its products, too
    "from unittest import mock; from fastbptt.models import _options\n"
    "with mock.patch.object(_options, 'can_run'): m = fastbptt.GRU(2, 3, 1, precision='bfloat16')\n"
)
JOB = "def job(comm):\n  m = fastbptt.GRU(2, 4, 1, seed=0); a = fastbptt.Adam(0.01)\n"
DAMAGED = (  # an order of sequences that fails in the second epoch, unless it is resumed
    "from unittest import mock; from fastbptt.training import loop\n"
    "class Damaged(loop.Order):\n"
    "  def batches(self, epoch, first=0):\n"
    "    if epoch == 2: raise ZeroDivisionError('here')\n"
    "    return super().batches(epoch, first)\n"
)
NO_PART = (  # what a rank gets that has no part in a communicator
    "class Null:\n"
    "  def ask(self): raise RuntimeError('MPI_ERR_COMM')\n"
    "  Abort = Allgather = Alltoall = Get_rank = Get_size = allgather = bcast = ask\n"
    "class MPI: COMM_NULL = Null()\n"
    "def job(comm):\n"
    "  fit(net, x, y, comm=comm, **once)\n"
)
RESUMED = JOB + "  fit(m, x, y, epochs=2, verbose=0, checkpoint='ranks.ckpt', comm=comm"
TINY = "s = fastbptt.Standardizer.from_dict({'mean': [0, 0], 'scale': [1e-60, 1]}); "
KEPT = "model = fastbptt.RNN(2, 4, 1, constraints=fastbptt.Constraints(self_connections=False))\n"
CALLS = [
    # constraints and penalties
    call(
        KEPT + "values = np.ones((4, 4))\nmodel.parameters['W_hh'] = values",
        r'(model.parameters\["W_hh"\]\[\.\.\.\] = values) and then (model.project\(\))',
        KEPT + "values = np.ones((4, 4))\n\\1\n\\2\nmodel.forward(x)",
    ),
    call(
        KEPT + "model.parameters['W_hh'][0, 0] = 1\nmodel.forward(x)",
        r"constraints have it; (model.project\(\)) makes it so",
        KEPT + "model.parameters['W_hh'][0, 0] = 1\n\\1\nmodel.forward(x)",
    ),
    call(
        "fastbptt.GRU(2, 4, 1, zoneout=0.1).export_c('model.c')",
        r"has zoneout=0.1, with which a state keeps a share of the one before; .*without zoneout",
        "fastbptt.GRU(2, 4, 1).export_c('model.c')",
    ),
    call(
        "fastbptt.LeakyRNN(2, 4, formulation='preactivation', zoneout=0.1)",
        r"expected (0) for formulation=\"preactivation\": the field has it",
        "fastbptt.LeakyRNN(2, 4, formulation='preactivation', zoneout=\\1)",
    ),
    call(
        "fastbptt.LeakyRNN(2, 4, recurrent_noise=0.1, noise_scaling='alpha', learn_alpha=True)",
        r"expected (None) because learn_alpha=True: the noise would change",
        "fastbptt.LeakyRNN(2, 4, recurrent_noise=0.1, noise_scaling=\\1, learn_alpha=True)",
    ),
    call(
        "fastbptt.LeakyRNN(2, 4, alpha=[0.1, 0.2, 0.3, 0.4], input_noise=1, noise_scaling='alpha')",
        r"expected (None), or input_noise=0, or one alpha for all units: an input",
        "fastbptt.LeakyRNN(2, 4, alpha=[0.1, 0.2, 0.3, 0.4], input_noise=1, noise_scaling=\\1)\n"
        "fastbptt.LeakyRNN(2, 4, alpha=0.1, input_noise=1, noise_scaling='alpha')",
    ),
    call(
        "fastbptt.RNN(2, 4, input_noise=1).forward(np.ones((1, 3, 2)), noise=1, training=True)",
        r"expected (None): training=True draws a seed",
        "fastbptt.RNN(2, 4, input_noise=1).forward(np.ones((1, 3, 2)), noise=\\1, training=True)",
    ),
    call(
        "fastbptt.Constraints()",
        r"at least one of masks, self_connections, .*, or None instead",
        "fastbptt.Constraints(self_connections=False)\nfastbptt.RNN(2, 4, constraints=None)",
    ),
    call(
        "fastbptt.RNN(2, 4, constraints={'signs': [1, 1, 1, -1]})",
        r"expected a (fastbptt.Constraints), or None",
        "fastbptt.RNN(2, 4, constraints=\\1(signs=[1, 1, 1, -1]))",
    ),
    call(
        "net.project()",
        r"one made with constraints=(fastbptt.Constraints\()\.\.\)",
        "fastbptt.RNN(2, 4, 1, constraints=\\1self_connections=False)).project()",
    ),
    call(
        KEPT + "fastbptt.interchange.to_torch(model)",
        r"other.load_state_dict\(model.state_dict\(\)\), or an ONNX file",
        KEPT + "other = fastbptt.RNN(2, 4, 1)\nother.load_state_dict(model.state_dict())\n"
        "fastbptt.interchange.to_keras_weights(other)",
    ),
    call(
        "fastbptt.RNN(2, 4, num_layers=2, constraints=fastbptt.Constraints(signs=[1, 1, 1, -1]))",
        r"a mapping by parameter, such as \{\"W_hh\": signs\}",
        "signs = [1, 1, 1, -1]\nfastbptt.RNN(2, 4, num_layers=2, "
        'constraints=fastbptt.Constraints(signs={"W_hh": signs}))',
    ),
    call(
        "net.freeze('W_hh')\nnet.train_step(x, y, fastbptt.SGD(), 'mse', l1={'W_hh': 0.1})",
        r"parameters that are trained; model.unfreeze\(\"W_hh\"\) has it so",
        "net.freeze('W_hh')\nnet.unfreeze('W_hh')\n"
        "net.train_step(x, y, fastbptt.SGD(), 'mse', l1={'W_hh': 0.1})",
    ),
    call(
        "net.train_step(x, y, fastbptt.SGD(), 'mse', l2=0.1)",
        r"a mapping of parameter -> strength, such as (\{.*\})",
        "net.train_step(x, y, fastbptt.SGD(), 'mse', l2=\\1)",
    ),
    # penalties on states, and low rank
    call(
        BFLOAT16.replace("GRU", "RNN") + "m.train_step(x, y, fastbptt.SGD(), 'mse', omega=0.1)",
        r"expected (None), or (precision=\"float32\")",
        BFLOAT16.replace("GRU", "RNN") + "m = fastbptt.RNN(2, 3, 1, \\2)\n"
        "m.train_step(x, y, fastbptt.SGD(), 'mse', omega=0.1)\n"
        "m.train_step(x, y, fastbptt.SGD(), 'mse', omega=\\1)",
    ),
    call(
        "fastbptt.GRU(2, 4, rank=5)",
        r"rank is 5; expected at most (4) because hidden_size=4, or (None)",
        "fastbptt.GRU(2, 4, rank=\\1)\nfastbptt.GRU(2, 4, rank=\\2)",
    ),
    call(
        "fastbptt.RNN(2, 4, rank=2, constraints=fastbptt.Constraints(self_connections=False))",
        r"W_hh is the product N_hh M_hh because rank=2; expected (True), or (rank=None)",
        "fastbptt.RNN(2, 4, constraints=fastbptt.Constraints(self_connections=False), \\2)\n"
        "rules = fastbptt.Constraints(self_connections=\\1, signs={'b_h': 1})\n"
        "fastbptt.RNN(2, 4, rank=2, constraints=rules)",
    ),
    call(
        "fastbptt.RNN(2, 4, rank=2, constraints=fastbptt.Constraints(signs=[1, 1, 1, -1]))",
        r"expected a mapping by parameter, or (rank=None)",
        "rules = fastbptt.Constraints(signs={'M_hh': [1, -1]})\n"
        "fastbptt.RNN(2, 4, rank=2, constraints=rules)\n"
        "fastbptt.RNN(2, 4, \\1, constraints=fastbptt.Constraints(signs=[1, 1, 1, -1]))",
    ),
    call(
        "fastbptt.RNN(2, 4, rank=2, constraints=fastbptt.Constraints(max_norm={'W_hh': 1}))",
        r"expected names of other parameters, or (rank=None)",
        "fastbptt.RNN(2, 4, rank=2, constraints=fastbptt.Constraints(max_norm={'W_xh': 1}))\n"
        "fastbptt.RNN(2, 4, \\1, constraints=fastbptt.Constraints(max_norm={'W_hh': 1}))",
    ),
    # what would be taken for another thing
    call(
        "fit(net, x, y, validation=(x, y, np.ones(12)), **once)",
        r"expected \(x, y, None, sample_weight\)",
        "fit(net, x, y, validation=(x, y, None, np.ones(12)), **once)",
    ),
    call(
        "b = iter([(x, np.ones(12), np.full(12, 3))] * 4)\n"
        "fit(net, b, loss='mse', steps_per_epoch=1, **once)",
        r"expected numpy.asarray\(weights, float\) for weights; for lengths x as a list",
        "b = iter([(x, np.ones(12), numpy.asarray([3] * 12, float))] * 4)\n"
        "fit(net, b, loss='mse', steps_per_epoch=1, **once)",
        "b = iter([([one[:3] for one in x], np.ones(12))] * 4)\n"
        "fit(net, b, loss='mse', steps_per_epoch=1, **once)",
    ),
    call(
        "fit(net, x, y, min_delta=0.1, **once)",
        r"expected validation=, or monitor=",
        "fit(net, x, y, min_delta=0.1, validation=0.5, **once)",
        "fit(net, x, y, min_delta=0.1, monitor='loss', **once)",
    ),
    call(
        "fit(net, x, np.uint8(y > 0), loss='hinge', **once)",
        r"\(of 0 and 1: (numpy.where\(y, 1, -1\))\)",
        "y = np.uint8(y > 0)\nfit(net, x, \\1, loss='hinge', **once)",
    ),
    call(
        "fit(net3, x, k * 1.0, loss='cross_entropy', **once)",
        r"of whole numbers, give (numpy.asarray\(y, int\))",
        "y = k * 1.0\nfit(net3, x, \\1, loss='cross_entropy', **once)",
    ),
    call(
        "fit(net3, list(x), [np.ones(4)] * 12, loss='cross_entropy', steps='all', **once)",
        r"of whole numbers, give (\[one.astype\(int\) for one in y\])",
        "y = [np.ones(4)] * 12\nfit(net3, list(x), \\1, loss='cross_entropy', steps='all', **once)",
    ),
    call(
        "fit(net, [*x, x[0][:2]], [*y.repeat(4).reshape(12, 4), y[:2]], **once)",
        r'expected one target per sequence; for targets at every step, (steps="all")',
        "fit(net, [*x, x[0][:2]], [*y.repeat(4).reshape(12, 4), y[:2]], \\1, **once)",
    ),
    call(
        SK + "C.fit([*x, x[0][:2]], [*k.repeat(4).reshape(12, 4), k[:2]])",
        r'expected one label per sequence; for labels at every step, (steps="all")',
        SK + "C.set_params(\\1).fit([*x, x[0][:2]], [*k.repeat(4).reshape(12, 4), k[:2]])",
    ),
    call(
        SK + "C.fit(x, k.repeat(4).reshape(12, 4))",
        r'for labels at every step, (steps="all"); for several labels',
        SK + "C.set_params(\\1).fit(x, k.repeat(4).reshape(12, 4))",
    ),
    call(
        "fit(net3, x, np.where(k > 0, k, np.nan), loss='cross_entropy', **once)",
        r'fastbptt.fit with (missing="mask") leaves out classes that are NaN',
        "fit(net3, x, np.where(k > 0, k, np.nan), loss='cross_entropy', \\1, **once)",
    ),
    call(
        "fit(net, x, y, loss='quantile:0.5', **once)",
        r'expected (fastbptt.Loss\("quantile"), \.\.\) with its parameters',
        "fit(net, x, y, loss=\\1, levels=[0.5]), **once)",
    ),
    call(
        "net.train_step(x, y, fastbptt.Adam(), loss=lambda z, y, w: (0.0, 0 * z))",
        r"functions are taken by fit and evaluate",
        "fit(net, x, y, loss=lambda z, y, w: (0.0, 0 * z), **once)",
    ),
    call(
        "import io\nfile = io.BytesIO()\nnet.save(file)\nfastbptt.load(file)",
        r"after (file.seek\(0\))",
        "import io\nfile = io.BytesIO()\nnet.save(file)\n\\1\nfastbptt.load(file)",
    ),
    call(
        "fastbptt.RMSprop(alpha=0, centered=True)",
        r"expected above 0 because centered=True",
        "fastbptt.RMSprop(alpha=0.5, centered=True)",
    ),
    call(
        "from functools import partial\nfrom sklearn.metrics import mean_pinball_loss\n"
        "m = partial(mean_pinball_loss, alpha=0.9)\n"
        "fit(net3, x, y, loss='quantile', metrics=m, **once)",
        r'expected alpha=0.5, or the metric "(coverage_error)"; the loss itself is the mean',
        "from functools import partial\nfrom sklearn.metrics import mean_pinball_loss\n"
        "m = partial(mean_pinball_loss, alpha=0.5)\n"
        "fit(net3, x, y, loss='quantile', metrics=m, **once)",
        "fit(net3, x, y, loss='quantile', metrics='\\1', **once)",
        needs="sklearn",
    ),
    call(
        SK + "df = pd.DataFrame(x[:, :, 0], columns=['t0', 't1', 't10', 't2'])\nR.fit(df, y)",
        r"in order of time; if they are, (X.to_numpy\(\))",
        SK + "X = pd.DataFrame(x[:, :, 0], columns=['t0', 't1', 't10', 't2'])\nR.fit(\\1, y)",
        SK + "X = pd.DataFrame(x[:, :, 0], columns=['t0', 't1', 't2', 't10'])\nR.fit(X, y)",
        needs="sklearn",
    ),
    call(
        SK + DATES + "X = [pd.DataFrame(one, days[:4]) for one in x]\n"
        "y = [pd.Series([1.0] * 5, days[:5]) for _ in X]\n"
        "y = [one[1:] for one in y]\nR.set_params(steps='all').fit(X, y)",
        r"as (\[b.reindex\(a.index\) for a, b in zip\(X, y\)\]) gives",
        SK + DATES + "X = [pd.DataFrame(one, days[:4]) for one in x]\n"
        "y = [pd.Series([1.0] * 5, days[:5]) for _ in X]\nR.set_params(steps='all').fit(X, \\1)",
        needs="sklearn",
    ),
    call(
        SK + DATES + "y = pd.Series(series, days.strftime('%Y%m%d').astype(int))\nF.fit(y)",
        r"expected (y.index = pandas.to_datetime\(.*?'\)), or (y.reset_index\(drop=True\)) if",
        SK + DATES + "y = pd.Series(series, days.strftime('%Y%m%d').astype(int))\n\\1\nF.fit(y)",
        SK + DATES + "y = pd.Series(series, days.strftime('%Y%m%d').astype(int))\nF.fit(\\2)",
        needs="sklearn",
    ),
    call(
        SK + "R.set_params(warm_start=True).fit(x, y)\nR.set_params(cell='lstm').fit(x, y)",
        r"for a new one fit with (warm_start=False)",
        SK + "R.set_params(warm_start=True).fit(x, y)\nR.set_params(cell='lstm', \\1).fit(x, y)",
        needs="sklearn",
    ),
    call(
        FRAME + "datasets.from_frame(df.set_index(['who', 'day']), target='v', steps='all')",
        r"expected df = (df.reset_index\(\)) with id= and time= for columns of it, or "
        r"(df.reset_index\(drop=True\)) for a single",
        FRAME + "df = df.set_index(['who', 'day'])\ndf = \\1\n"
        "datasets.from_frame(df.assign(a=1), id='who', time='day', target='v', features='a', "
        "steps='all')",
        FRAME + "df = df.set_index(['who', 'day']).assign(a=1)\n"
        "datasets.from_frame(\\2, target='v', features='a', steps='all')",
        needs="pandas",
    ),
    call(
        FRAME
        + "df = df.assign(who=[1, 1, '1', '1'])\ndatasets.from_frame(df, id='who', features='v')",
        r"expected names of one type: (df\['who'\] = df\['who'\].astype\(str\))",
        FRAME + "df = df.assign(who=[1, 1, '1', '1'])\n\\1\n"
        "datasets.from_frame(df, id='who', features='v')",
        needs="pandas",
    ),
    # batches of an iterator, functions as loss, learning rates
    call(
        f"{BATCHES}fastbptt.fit(fastbptt.RNN(2, 3, 1), b, loss='mse', steps_per_epoch=2, epochs=2, "
        "metrics='rmse', verbose=0)",
        r"expected validation=\(x, y\) because x is an iterator",
        f"{BATCHES}fastbptt.fit(fastbptt.RNN(2, 3, 1), b, loss='mse', steps_per_epoch=2, epochs=2, "
        "metrics='rmse', verbose=0, validation=(x, np.ones(12)))",
    ),
    call(
        f"{BATCHES}fastbptt.fit(fastbptt.RNN(2, 3, 1), b, loss='mse', steps_per_epoch=3, epochs=2, "
        "verbose=0)",
        "expected 6: steps_per_epoch=3 in each of epochs=2",
        f"{BATCHES}fastbptt.fit(fastbptt.RNN(2, 3, 1), b, loss='mse', steps_per_epoch=2, epochs=2, "
        "verbose=0)",
    ),
    call(
        f"{OWN}fastbptt.fit(fastbptt.RNN(2, 3, 1), x, np.ones(5), loss=own, steps='all')",
        r"expected \(12, 4, ..\): \(batch, time, ..\) for steps=\"all\"",
        f"{OWN}fastbptt.fit(fastbptt.RNN(2, 3, 1), x, np.ones((12, 4, 3)), loss=own, steps='all', "
        "epochs=1, verbose=0)",
    ),
    call(
        "fastbptt.find_lr(fastbptt.RNN(2, 3, 1), x, np.ones(12), loss='mse', low=2.0)",
        "expected less than high=1.0",
        "fastbptt.find_lr(fastbptt.RNN(2, 3, 1), x, np.ones(12), loss='mse', low=0.1, updates=10)",
    ),
    call(
        "fastbptt.plot.learning_rates(3)",
        "expected the result of (fastbptt.find_lr)",
        r"fastbptt.plot.learning_rates(\1(fastbptt.RNN(2, 3, 1), x, np.ones(12), loss='mse'))",
        needs="matplotlib",
    ),
    call(
        'datasets.read_csv("good.csv", labels=False, classes=["x", "y"])',
        "expected None with (labels=False)",
        r'datasets.read_csv("good.csv", \1)',
    ),
    # pictures
    call(
        "fastbptt.plot.fixed_points(net, 3, x)",
        r"found is of type int; expected the result of (fastbptt\.diagnostics\.fixed_points)",
        r"from matplotlib.figure import Figure; found = \1(net, [0.0, 0.0], 5, data=x); "
        "fastbptt.plot.fixed_points(net, found, x, ax=Figure().subplots())",
        needs="matplotlib",
    ),
    call(
        PICTURE + "fastbptt.plot.fixed_points(net, found, x, dimensions=3, ax=Figure().subplots())",
        r"made with (projection=\"3d\"), for (dimensions=3)",
        PICTURE + r"fastbptt.plot.fixed_points(net, found, x, \2, ax=Figure().add_subplot(\1))",
        needs="matplotlib",
    ),
    call(
        "m = fastbptt.RNN(2, 4, 1, seed=0)\n"
        "m.train_step(x, y, fastbptt.SGD(), 'mse', bptt_steps=1, omega=0.1)",
        r"no step has one before it; expected (None), or more bptt_steps",
        "m = fastbptt.RNN(2, 4, 1, seed=0)\n"
        r"m.train_step(x, y, fastbptt.SGD(), 'mse', bptt_steps=1, omega=\1)",
    ),
    # losses
    call(
        "net.loss(x, y, 'quantile')",
        r"expected a model with (output_size=3) for one target",
        r"fastbptt.GRU(2, 4, \1, seed=0).loss(x, y, 'quantile')",
    ),
    call(
        "net.train_step(x, y, fastbptt.SGD(), 'mse', 'mean', bptt_steps=2)",
        r"bptt_steps is 2; expected (None) for steps=\"mean\"",
        r"net.train_step(x, y, fastbptt.SGD(), 'mse', 'mean', bptt_steps=\1)",
    ),
    call(
        SK + "q = RecurrentForecaster(6, 3, loss='quantile', **quick).fit(series)\n"
        "q.predict_quantiles(2, x[0])",
        r"expected None: predict_quantiles\(h\), or \(h, y=series\)",
        SK + "q = RecurrentForecaster(6, 3, loss='quantile', **quick).fit(series)\n"
        "q.predict_quantiles(2); q.predict_quantiles(2, y=series)",
        needs="sklearn",
    ),
    # weights
    call(
        "net.loss(x, y, warmup=2)",
        r"expected 0 unless (steps=\"all\")",
        r"net.loss(x, x[..., 0], 'mse', \1, warmup=2)",
    ),
    call(
        "net.loss(x, y, sample_weight=x[..., 0] ** 2)",
        r"one weight per sequence for (steps=)\"last\"",
        r"net.loss(x, x[..., 0], 'mse', \1'all', sample_weight=x[..., 0] ** 2)",
    ),
    call(
        "fit(net, x, y, sample_weight=np.arange(12.0), metrics=lambda y, z: 0.0, **once)",
        r"a function with a parameter (sample_weight)",
        r"fit(net, x, y, sample_weight=np.arange(12.0), metrics=lambda y, z, \1: 0.0, **once)",
    ),
    # resets
    call(
        "net.loss(x, y, 'mse', 'mean', resets=marks)",
        r"expected (None), and the episodes as a list x: a sequence could be an episode",
        r"net.loss(x, y, 'mse', 'mean', resets=\1)",
        "net.loss([x[0, :1], x[0, 1:]], y[:2], 'mse', 'mean')",
    ),
    call(
        "net.loss(x, x[..., 0], 'mse', 'all', 'sequence_mean', resets=marks)",
        r"expected None, or (reduction=\"mean\") with a (sample_weight) of shape \(batch, time\)",
        r"net.loss(x, x[..., 0], 'mse', 'all', \1, \2=np.ones((12, 4)), resets=marks)",
    ),
    call(
        "net.loss(x, x[..., 0], 'mse', 'all', warmup=1, resets=marks)",
        r"or a (sample_weight) of shape \(batch, time\) with (0) where there is no loss",
        r"w = np.ones((12, 4)); w[:, 0] = \2; "
        r"net.loss(x, x[..., 0], 'mse', 'all', \1=w, resets=marks)",
    ),
    call(
        "fastbptt.diagnose(net, x, y, resets=marks, jacobians=2)",
        r"expected (False), or the episodes as a list x",
        r"fastbptt.diagnose(net, x, y, resets=marks, jacobians=\1)",
        "fastbptt.diagnose(net, [x[0, :1], x[0, 1:]], y[:2], jacobians=2)",
    ),
    call(
        "of = fastbptt.GRU(2, 4, 1, static_size=3); "
        "of.forward(x, static=np.ones((12, 3)), resets=marks)",
        r"expected None, and the episodes as a (list) x, each with its row of (static)",
        r"of = fastbptt.GRU(2, 4, 1, static_size=3); "
        r"of.forward(\1([x[0, :1], x[0, 1:]]), \2=np.ones((2, 3)))",
    ),
    call(
        "of = fastbptt.GRU(2, 4, 1, static_size=3); "
        "state = of.initial_state(12, static=np.ones((12, 3))); "
        "of.step(x[:, 0], state, resets=marks[:, 0])",
        r"a state whose rows come from (initial_state)\(batch, (static)=..\)",
        r"of = fastbptt.GRU(2, 4, 1, static_size=3); state = of.\1(12, \2=np.ones((12, 3))); "
        r"of.step(x[:, 0], state)",
    ),
    # shapes and forms
    call(
        "fit(net, x[0], y[:1], **once)",
        r"for one sequence give (x\[None\])",
        r"x = x[0]; fit(net, \1, y[:1], **once)",
    ),
    call(
        "fit(one, x[:, :1, 0], y, **once)",
        r"for 12 sequences of one step (x\[:, :, None\])",
        r"x = x[:, :1, 0]; fit(one, \1, y, **once)",
    ),
    call(
        "a = np.empty(2, object); a[:] = [x[0], x[1]]; x = a; fit(net, x, y[:2], **once)",
        r"for sequences give a list: (list\(x\))",
        r"a = np.empty(2, object); a[:] = [x[0], x[1]]; x = a; fit(net, \1, y[:2], **once)",
    ),
    call(
        "fit(net, np.ma.masked_greater(x, 1), y, **once)",
        r"none: fill them, or leave them out; sequences may have different lengths",
        "fit(net, np.ma.masked_greater(x, 1).filled(1.0), y, **once)",
        "fit(net, [one[(one <= 1).all(1)] for one in x[:2]], y[:2], **once)",
    ),
    call(
        "fastbptt.predict(net, x + 1e9)",
        r"Standardise x as for training, before .*; or give (numpy.asarray\(x, \"float32\"\))",
        "fastbptt.predict(net, fastbptt.Standardizer().fit_transform(x + 1e9))",
        r"import numpy; x = x + 1e9; fastbptt.predict(net, \1)",
    ),
    call(
        "fit(net, x, ['p', 'q'] * 6, **once)",
        r"for names of classes: (classes, y = numpy.unique\(y, return_inverse=True\))",
        "import numpy; y = ['p', 'q'] * 6\n" + r"\1; fit(net, x, y, **once)",
    ),
    call(
        FRAME + "fit(net, df, y, **once)",
        r"(data = fastbptt.datasets.from_frame\(df), id=",
        FRAME + r"\1, id='who', time='day', features='v', target='label'); "
        "fit(one, data.x, data.y * 1.0, **once)",
        needs="pandas",
    ),
    call(
        "fit(net, [x[0], x[1]], y[:2], lengths=[4, 3], **once)",
        r"a list of sequences needs no lengths",
        "fit(net, [x[0], x[1]], y[:2], **once)",
    ),
    # targets
    call(
        "fit(net, x, k, **once)",
        r"(loss=\"mse\") for a regression .* (output_size=3) for",
        r"fit(net, x, k, \1, **once)",
        r"fit(fastbptt.GRU(2, 4, \2), x, k, **once)",
    ),
    call(
        "fit(net, x, k - 1, **once)",
        r"(loss=\"mse\") .* another (output_size)",
        r"fit(net, x, k - 1, \1, **once)",
        r"fit(fastbptt.GRU(2, 4, \2=3), x, k, **once)",
    ),
    call(
        "y = np.arange(12) % 2 + 1; fit(net, x, y, **once)",
        r"as (\(y == 2\)) gives, or (loss=\"mse\")",
        r"y = np.arange(12) % 2 + 1; fit(net, x, \1, **once)",
        r"y = np.arange(12) % 2 + 1; fit(net, x, y, \2, **once)",
    ),
    call(
        "y = np.eye(3)[k]; fit(net3, x, y, **once)",
        r"(loss=\"cross_entropy\") with (y.argmax\(axis=-1\)) .*(loss=\"bce\").*(loss=\"mse\")",
        r"y = np.eye(3)[k]; fit(net3, x, \2, \1, **once)",
        r"y = np.eye(3)[k]; fit(net3, x, y, \3, **once)",
        r"y = np.eye(3)[k]; fit(net3, x, y, \4, **once)",
    ),
    call(
        "y = np.eye(3)[k]; fit(net3, x, y, loss='cross_entropy', **once)",
        r"of one-hot rows, give (y.argmax\(axis=-1\))",
        r"y = np.eye(3)[k]; fit(net3, x, \1, loss='cross_entropy', **once)",
    ),
    call(
        "y = np.tile(k[:, None], x.shape[1]); fit(net3, x, y, loss='cross_entropy', **once)",
        r"for targets at every step, (steps=\"all\")",
        "y = np.tile(k[:, None], x.shape[1])\n"
        r"fit(net3, x, y, loss='cross_entropy', \1, **once)",
    ),
    call(
        "fit(net, x, x[:, :, 0], loss='mse', **once)",
        r"for targets at every step, (steps=\"all\")",
        r"fit(net, x, x[:, :, 0], loss='mse', \1, **once)",
    ),
    call(
        "fit(net3, x, y, **once)",
        r"integer classes .*would give \"(\w+)\"|would give \"(\w+)\"",
        r"fit(net3, x, k, **once)",
    ),
    call(
        "fit(net, x, y, class_weight='balanced', **once)",
        r"one class per sequence",
        "fit(net3, x, k, class_weight='balanced', **once)",
    ),
    # missing values and padding
    call(
        "y[3] = np.nan; fit(net, x, y, **once)",
        r"(missing=\"mask\") leaves out targets",
        r"y[3] = np.nan; fit(net, x, y, \1, **once)",
    ),
    call(
        PARTS + "fit(two, x, y, steps='all', missing='mask', **once)",
        r"(numpy.where\(.*, y\)) leaves out such steps whole; loss=(fastbptt.training.MaskedLoss)",
        PARTS + r"import numpy; fit(two, x, \1, steps='all', missing='mask', **once)",
        PARTS + r"fit(two, x, y, steps='all', loss=\2('mse'), **once)",
    ),
    call(
        "fastbptt.training.MaskedLoss('cross_entropy')",
        r"such as (\"mse\"); classes that are missing: (missing=\"mask\")",
        r"fastbptt.training.MaskedLoss(\1)",
        r"fit(net3, x, np.where(k > 0, k, -1), \2, **once)",
    ),
    call(
        "fastbptt.Imputer().transform(x)",
        "expected (fit) before",
        r"fastbptt.Imputer().\1(x).transform(x)",
    ),
    call(
        "x[3, 1, 0] = np.nan; fastbptt.Standardizer().fit(x)",
        r"(missing=\"mask\") leaves out missing values",
        r"x[3, 1, 0] = np.nan; fastbptt.Standardizer(\1).fit(x)",
    ),
    call(
        "fastbptt.Imputer().fit(x[:, :, 0])",
        r"of one feature, give (x\[:, :, None\])",
        r"x = x[:, :, 0]; fastbptt.Imputer().fit(\1)",
    ),
    call(
        "i = fastbptt.Imputer().fit(x); x[3, 1, 0] = np.nan; i.transform(x)",
        "values where training had them: fill them, or (fit) on data with such gaps",
        "i = fastbptt.Imputer().fit(x); x[3, 1, 0] = np.nan; i.transform(np.nan_to_num(x))",
        r"x[3, 1, 0] = np.nan; fastbptt.Imputer().\1(x).transform(x)",
    ),
    call(
        SK + "R.set_params(missing='mask').fit(x, y); x[3, 1, 0] = np.nan; R.predict(x)",
        "values: fill them, or (fit) on data with such gaps",
        SK + "R.set_params(missing='mask').fit(x, y); x[3, 1, 0] = np.nan\n"
        "R.predict(np.nan_to_num(x))",
        SK + r"x[3, 1, 0] = np.nan; R.set_params(missing='mask').\1(x, y).predict(x)",
        needs="sklearn",
    ),
    call(
        SK + "F.set_params(missing='mask').fit(series); series[5] = np.nan; F.predict(y=series)",
        "values: fill them, or (fit) on series with such gaps",
        SK + "F.set_params(missing='mask').fit(series); series[5] = np.nan\n"
        "F.predict(y=np.nan_to_num(series))",
        SK + r"series[5] = np.nan; F.set_params(missing='mask').\1(series).predict(y=series)",
        needs="sklearn",
    ),
    call(
        SK + "x[:, 2, 0] = np.nan; R.fit(x, y)",
        r"unless the estimator has (missing=\"mask\")",
        SK + r"x[:, 2, 0] = np.nan; R.set_params(\1).fit(x, y)",
        needs="sklearn",
    ),
    call(
        SK + "y = x[:, 0]; y[3, 0] = np.nan; R.set_params(missing='mask').fit(x * 1, y)",
        r"an estimator for each output. (numpy.where\(.*, y\)) leaves out",
        SK + "import numpy; y = x[:, 0] * 1; y[3, 0] = np.nan\n"
        r"R.set_params(missing='mask').fit(x, \1)",
        SK + "y = x[:, 0] * 1; y[3, 0] = np.nan; R.set_params(missing='mask').fit(x, y[:, 0])",
        needs="sklearn",
    ),
    call(
        SK + "R.fit(x, y, sample_weight=x[:, :, 0] ** 2)",
        r"weights of steps are for (steps=\"all\")",
        SK + r"R.set_params(\1).fit(x, x[:, :, 0], sample_weight=x[:, :, 0] ** 2)",
        needs="sklearn",
    ),
    call(
        FRAME + "df.loc[0, 'label'] = None\n"
        "datasets.from_frame(df, id='who', target='label', steps='all')",
        r"no class.*or (missing=\"mask\")",
        FRAME + "df.loc[0, 'label'] = None\n"
        r"datasets.from_frame(df, id='who', target='label', steps='all', \1)",
        needs="sklearn",
    ),
    call(
        FRAME + "df.loc[0, 'v'] = None\n"
        "datasets.from_frame(df, id='who', features='day', target='v', steps='all')",
        r"no target.*or (missing=\"mask\")",
        FRAME + "df.loc[0, 'v'] = None\n"
        r"datasets.from_frame(df, id='who', features='day', target='v', steps='all', \1)",
        needs="sklearn",
    ),
    call(
        "x[3, 2:] = np.nan; fit(net, x, y, **once)",
        r"the list (fastbptt.datasets.unpad\(x, value=float\(\"nan\"\)\))",
        r"x[3, 2:] = np.nan; fit(net, \1, y, **once)",
    ),
    call(
        "x[3, :2] = np.nan; fit(net, x, y, **once)",
        r"the list (fastbptt.datasets.unpad\(x, value=float\(\"nan\"\))\), with (padding=\"pre\")",
        r"x[3, :2] = np.nan; fit(net, \1, \2), y, **once)",
    ),
    call(
        "x = np.array([[1, 2, 0], [3, 4, 5]]); fit(tokens, x, y[:2], **once)",
        r"a list without it: (fastbptt.datasets.unpad\(x, value=0\))",
        r"x = np.array([[1, 2, 0], [3, 4, 5]]); fit(tokens, \1, y[:2], **once)",
    ),
    call(
        "x = np.array([[0, 1, 2], [3, 4, 5]]); fit(tokens, x, y[:2], **once)",
        r"(fastbptt.datasets.unpad\(x, value=0)\), with (padding=\"pre\")",
        r"x = np.array([[0, 1, 2], [3, 4, 5]]); fit(tokens, \1, \2), y[:2], **once)",
    ),
    call(
        "fit(net, x + 1e9, y, **once)",
        r"as (fastbptt.Standardizer\(\).fit_transform\(x\)) .*(dtype=\"float64\"), or (.*) if",
        r"x = x + 1e9; fit(net, \1, y, **once)",
        r"fit(fastbptt.GRU(2, 4, 1, \2), x + 1e9, y, **once)",
        r"x = x + 1e9; fit(net, \3, y, **once)",
    ),
    call(
        "fit(one, x[:, :, :1] + 1e9, y, **once)",
        r"as (fastbptt.Standardizer\(\).fit_transform\(.*\)) makes",
        r"x = x[:, :, 0] + 1e9; fit(one, \1, y, **once)",
    ),
    call(
        "fit(net, [1e9 + one for one in x], y, **once)",
        r", or (\[.*\]) if these",
        r"x = [1e9 + one for one in x]; fit(net, \1, y, **once)",
    ),
    # training
    call(
        "fit(net, x, y, patience=2, **once)",
        r"expected (validation=), or (monitor=) with",
        r"fit(net, x, y, patience=2, \1 0.2, **once)",
        r"fit(net, x, y, patience=2, \2'loss', **once)",
    ),
    call(
        "fit(net, x, y, optimizer=3, **once)",
        r"such as (fastbptt.Adam\(\)), or a name",
        r"fit(net, x, y, optimizer=\1, **once)",
        "fit(net, x, y, optimizer='adam', **once)",
    ),
    call(
        "net.train_step(x, y, 3, loss='mse')",
        r"an optimiser such as (fastbptt.Adam\(\))",
        r"net.train_step(x, y, \1, loss='mse')",
    ),
    call(
        "net.save('a.st', 3)", r"an optimiser such as (fastbptt.Adam\(\))", r"net.save('a.st', \1)"
    ),
    call(
        "fit(net, x, y, schedule=3, **once)",
        r"one of .*\"(cosine)\"",
        r"fit(net, x, y, schedule='\1', **once)",
    ),
    call(
        "fit(net, x, y, callbacks=[3], **once)",
        r"expected a (fastbptt.Callback)",
        r"fit(net, x, y, callbacks=[\1()], **once)",
    ),
    call(
        "net.save('a.st'); fit(net, x, y, resume='a.st', **once)",
        r"expected a checkpoint",
        "fit(net, x, y, checkpoint='c.st', **once); fit(net, x, y, resume='c.st', **once)",
    ),
    call(
        "fastbptt.SGD(nesterov=True)",
        r"False because momentum=0",
        "fastbptt.SGD()",
        "fastbptt.SGD(momentum=0.9, nesterov=True)",
    ),
    call(
        "fastbptt.LeakyRNN(2, 3, alpha=1, learn_alpha=True)",
        r"expected below 1 at the start because learn_alpha=True",
        "fastbptt.LeakyRNN(2, 3, alpha=0.99, learn_alpha=True)",
        "fastbptt.LeakyRNN(2, 3, alpha=1)",
    ),
    call(
        "fastbptt.LSTM(2, 3, bias=False, forget_bias=1.0)",
        r"expected None because bias=False",
        "fastbptt.LSTM(2, 3, bias=False)",
        "fastbptt.LSTM(2, 3, forget_bias=1.0)",
    ),
    call(
        "fastbptt.GRU(2, 3, precision='bfloat16', dtype='float64')",
        r"expected \"(float32)\"",
        r"fastbptt.GRU(2, 3, precision='\1', dtype='float64')",
    ),
    call(
        "fastbptt.GRU(2, 3, embedding=np.ones((5, 4)))",
        r"\(vocabulary, 2\)",
        "fastbptt.GRU(2, 3, embedding=np.ones((5, 2)))",
    ),
    call(
        "m = fastbptt.GRU(2, 3, embedding=5, freeze_embedding=True); m.unfreeze('E')",
        r"freeze_embedding=True",
        "fastbptt.GRU(2, 3, embedding=5).unfreeze('E')",
    ),
    call(
        "fastbptt.GRU(2, 3, dropout=0.5)",
        r"has no effect with (num_layers)=1",
        r"fastbptt.GRU(2, 3, dropout=0.5, \1=2)",
    ),
    call(
        "net = fastbptt.GRU(2, 4, 1, bidirectional=True); fit(net, x, y, bptt_steps=2, **once)",
        r"but bidirectional=True",
        "fit(net, x, y, bptt_steps=2, **once)",
    ),
    call(
        "fastbptt.Standardizer().transform(x)",
        r"expected fit before",
        "s = fastbptt.Standardizer(); s.fit(x); s.transform(x)",
    ),
    call(
        "fastbptt.Standardizer().to_dict()",
        r"expected fit before",
        "s = fastbptt.Standardizer(); s.fit(x); s.to_dict()",
    ),
    call(
        "fastbptt.Standardizer().fit(x).transform(x[:, :, :1])",
        r"expected 2, as in fit",
        "fastbptt.Standardizer().fit(x).transform(x)",
    ),
    call(
        "s = fastbptt.Standardizer.from_dict({'mean': [0.0] * 2, 'scale': [1.0] * 2})\n"
        "s.partial_fit(x)",
        r"expected fit",
        "s = fastbptt.Standardizer.from_dict({'mean': [0.0] * 2, 'scale': [1.0] * 2}); s.fit(x)",
    ),
    # readers
    call(
        "datasets.read_csv('big.csv', dtype='float32')",
        r"or (dtype=\"float64\")",
        r"datasets.read_csv('big.csv', \1)",
    ),
    call(
        "datasets.read_csv('unnamed.csv', label_file='labels.csv', labels=False)",
        r"expected (labels=True)",
        r"datasets.read_csv('unnamed.csv', label_file='labels.csv', label='kind', \1)",
    ),
    call(
        "datasets.read_npz('good.npz', tokens=True)",
        r": (tokens=True)",
        r"datasets.read_npz('tokens.npz', \1)",
    ),
    call(
        "datasets.read_npz('steps.npz')",
        r"or (steps=\"all\"): one per",
        r"datasets.read_npz('steps.npz', \1)",
    ),
    call(
        "datasets.read_npz('gap.npz', missing='error')",
        r"or (missing=)(\"nan\") or (\"interpolate\")",
        r"datasets.read_npz('gap.npz', \1\2)",
        r"datasets.read_npz('gap.npz', \1\3)",
    ),
    call(
        "datasets.read_npz('keras.npz')",
        r"expected (x='\w+') or",
        r"datasets.read_npz('keras.npz', \1)",
    ),
    call(
        "datasets.read_npz('good.npz', y='y', labels=False)",
        r"expected (labels=True)",
        r"datasets.read_npz('good.npz', y='y', \1)",
    ),
    call(
        "np.savez('two.npz', X=x, y=k, Y=k)\ndatasets.read_npz('two.npz', x='X')",
        r"expected y=\W*(\w)\W* or \W*(\w)",
        r"datasets.read_npz('two.npz', x='X', y='\1')",
        r"datasets.read_npz('two.npz', x='X', y='\2')",
    ),
    call(
        FLIPS + "task.score(np.ones((2, 3)), trials)",
        r"the result of (predict\(model, trials\.x, trials\.lengths, steps=\"all\"\))",
        FLIPS + r"task.score(\1, trials)",
    ),
    call(
        FLIPS + "task.score(trials.y, 3)",
        r"the result of (task\.trials)",
        FLIPS + r"task.score(trials.y, \1(2, seed=0))",
    ),
    call(
        FLIPS + "fastbptt.plot.trial(task, 3)",
        r"the result of (task\.trials)",
        FLIPS + r"fastbptt.plot.trial(task, \1(2, seed=0))",
        needs="matplotlib",
    ),
    call(
        FLIPS + "fastbptt.plot.trial(3, trials)",
        r"such as (tasks\.FlipFlop\(\))",
        FLIPS + r"fastbptt.plot.trial(\1, trials)",
        needs="matplotlib",
    ),
    call(
        FLIPS + "tasks.FlipFlop(duration=30)",
        r"a multiple of dt=20: (\d+) or (\d+)",
        FLIPS + r"tasks.FlipFlop(duration=\1)",
        FLIPS + r"tasks.FlipFlop(duration=\2)",
    ),
    call(
        FLIPS + "tasks.FlipFlop(duration=(40, 80))",
        r"or (tasks\.Uniform)\(low, high\), (tasks\.TruncatedExponential)\(mean, low, high\) or "
        r"(tasks\.OneOf)\(values\)",
        FLIPS + r"tasks.FlipFlop(duration=\1(40, 80))",
        FLIPS + r"tasks.FlipFlop(duration=\2(50, 40, 80))",
        FLIPS + r"tasks.FlipFlop(duration=\3((40, 80)))",
    ),
    call(
        FLIPS + "tasks.ParametricWorkingMemory(pairs=18)",
        r"such as (\[\(18, 10\), \(22, 14\)\])",
        FLIPS + r"tasks.ParametricWorkingMemory(pairs=\1)",
    ),
    call(
        FLIPS + "tasks.FlipFlop(duration=tasks.Uniform(500, 400))",
        r"more than low=(\d+)",
        FLIPS + r"tasks.FlipFlop(duration=tasks.Uniform(\1, \1 + 100))",
    ),
    call(
        FLIPS + "tasks.FlipFlop(duration=tasks.Uniform(0, 400), grace=0)",
        r"at least (\d+) ms, with dt=20 ms",
        FLIPS + r"tasks.FlipFlop(duration=tasks.Uniform(\1, 400), grace=0)",
    ),
    call(
        FLIPS + "tasks.ReadySetGo(pulse=0)",
        r"at least one step of dt=(\d+) ms",
        FLIPS + r"tasks.ReadySetGo(pulse=\1)",
    ),
    call(
        FLIPS + "tasks.FlipFlop(tau=1)",
        r"at least dt=(\d+)",
        FLIPS + r"tasks.FlipFlop(tau=\1)",
    ),
    call(
        FLIPS + "tasks.FlipFlop(rate=1000)",
        r"at most (\d+), one in each step of dt=20 ms",
        FLIPS + r"tasks.FlipFlop(rate=\1)",
    ),
    call(
        FLIPS + "tasks.ReadySetGo(interval=20, pulse=100)",
        r"more than the duration of a pulse, pulse=(\d+) ms",
        FLIPS + r"tasks.ReadySetGo(interval=2 * \1, pulse=\1)",
    ),
    call(
        FLIPS + "tasks.ReadySetGo(gain=0.001)",
        r"a produced interval of at least dt=(\d+) ms",
        FLIPS + r"tasks.ReadySetGo(gain=1, dt=\1)",
    ),
    call(
        CURVE + "fastbptt.plot.psychometric([1])",
        r"the result of (fastbptt\.datasets\.tasks\.psychometric), or several by name",
        CURVE + r"fastbptt.plot.psychometric(\1([1, 2, 1, 2], [True, False, False, True]))",
        needs="matplotlib",
    ),
    call(
        CURVE + "psychometric([1, 1], both)",
        r"two levels, or (fit=False)",
        CURVE + r"psychometric([1, 1], both, \1)",
    ),
    call(
        CURVE + "psychometric([1, 2], both | True)",
        r"both for a fit, or (fit=False)",
        CURVE + r"psychometric([1, 2], both | True, \1)",
    ),
    call(
        CURVE + "psychometric([1, 2], [1, 0])",
        r"booleans, such as (choices == 1)",
        CURVE + r"choices = np.array([1, 0]); psychometric([1, 2], \1)",
    ),
    call(
        CURVE + "psychometric([1, 2], both, fit=False)([1.0])",
        r"expected psychometric\(.., (fit=True)\)",
        CURVE + r"psychometric([1, 2], both, \1)([1.0])",
    ),
    call(
        "datasets.read_tsf('series.tsf', ahead=1, labels=False)",
        r"expected (labels=True)",
        r"datasets.read_tsf('series.tsf', ahead=1, missing='interpolate', \1)",
    ),
    call(
        "datasets.read_tsf('series.tsf', ahead=1)",
        r"is a target; expected a number, or (missing=\"interpolate\")",
        r"datasets.read_tsf('series.tsf', ahead=1, \1)",
    ),
    call(
        "datasets.read_tsf('series.tsf', missing='error')",
        r"or (missing=)(\"nan\") or (\"interpolate\")",
        r"datasets.read_tsf('series.tsf', \1\2)",
        r"datasets.read_tsf('series.tsf', \1\3)",
    ),
    call(
        "datasets.read('none.tsf')",
        r"expected \"(@attribute series_name string)\" "
        r"\(or write the series as (.csv), (.npz) or (.ts)",
        r"text = chr(10).join([r'\1', '@data', 'a:1,2']); open('t.tsf', 'w').write(text); "
        r"datasets.read('t.tsf')",
        r"datasets.read('good\2'); datasets.read('good\3'); datasets.read('good\4')",
    ),
    call(
        "datasets.read('none.arff')",
        r"no (@attribute) before .*write the series as (.csv), (.npz) or (.ts)",
        r"text = chr(10).join([r'\1 a1 numeric', r'\1 a2 real', '@data', '1,2']); "
        r"open('t.arff', 'w').write(text); "
        r"datasets.read('t.arff')",
        r"datasets.read('good\2'); datasets.read('good\3'); datasets.read('good\4')",
    ),
    call(
        "datasets.read_arff('numbers.arff')",
        r"expected layout=\W*(\w+)\W* for the first, layout=\W*(\w+)\W* for the second, or "
        r"(target=) or (exclude=) for",
        r"datasets.read_arff('numbers.arff', layout='\1')",
        r"datasets.read_arff('numbers.arff', layout='\2', id=None, step=None)",
        r"datasets.read_arff('numbers.arff', \3't')",
        r"datasets.read_arff('numbers.arff', \4['t'])",
    ),
    call(
        "a = np.empty(2, object); a[:] = [x[0], x[1, :2]]; np.savez('o.npz', x=a)\n"
        "datasets.read_npz('o.npz')",
        r"if you trust this file, (arrays = .*) writes it so",
        r"\1; datasets.read_npz('new.npz')",
    ),
    call(
        "datasets.unpad(np.array([[0, 0], [1, 2]]))",
        r"holds only 0",
        "datasets.unpad(np.array([[0, 0], [1, 2]]), [1, 2])",
    ),
    call(
        FRAME + "datasets.from_frame(df.assign(label=[1., 2., 3., 4.]), id='who', target='label')",
        r"or (steps=\"all\")",
        FRAME + "datasets.from_frame(df.assign(label=[1., 2., 3., 4.]), "
        r"id='who', target='label', \1)",
        needs="pandas",
    ),
    call(
        FRAME + "datasets.from_frame(df[['who', 'v']].set_index('who'), id='who')",
        r"(df.reset_index\(\)) makes it a column",
        FRAME + "df = df[['who', 'v']].set_index('who')\n" + r"datasets.from_frame(\1, id='who')",
        needs="pandas",
    ),
    call(
        FRAME + DATES + "datasets.from_frame(df[['v']].set_index(days[3::-1]))",
        r"rows in order of time: (df.sort_index\(\))",
        FRAME + DATES + "df = df[['v']].set_index(days[3::-1])\n" + r"datasets.from_frame(\1)",
        needs="pandas",
    ),
    call(
        "datasets.Tokenizer().encode(['a'])",
        r"expected fit or load before encode",
        "t = datasets.Tokenizer(); t.fit(['a']); t.encode(['a'])",
    ),
    call(
        SCENE + "datasets.frame_features(d, 1)",
        r"or (classes=) as a mapping",
        SCENE + r"datasets.frame_features(d, \1{0: 'person'})",
    ),
    call(
        SCENE + "d.confidence[:] = np.nan; datasets.frame_features(d, 9)",
        r"or (confidence=False)",
        SCENE + "d.confidence[:] = np.nan\n"
        r"datasets.frame_features(d, 9, \1)",
    ),
    call(
        FRAME + "C.fit([df[['day', 'label']]] * 2, [0, 1])",
        r"dates belong into the index \(set_index\), names of classes into y",
        FRAME + "C.fit([df[['v']]] * 2, ['p', 'q'])",
        needs="sklearn",
    ),
    call(
        "import fastbptt.plot as p; p.losses(3)",
        r"the result of (fastbptt.fit)",
        r"import fastbptt.plot as p; p.losses(\1(net, x, y, **once))",
        needs="matplotlib",
    ),
    call(
        "import fastbptt.plot as p; p.gradient_flow(3)",
        r"the result of (fastbptt.diagnose)",
        r"import fastbptt.plot as p; p.gradient_flow(\1(net, x, y, loss='mse'))",
        needs="matplotlib",
    ),
    # files
    call(
        "import os\nif not os.path.exists('l.st'): net.save('l.st'); os.link('l.st', 'm.st')\n"
        "net.save('l.st')",
        r"write to another name, or delete this one first",
        "net.save('n.st')",
        "import os; os.remove('l.st'); net.save('l.st'); os.remove('l.st'); os.remove('m.st')",
    ),
    # estimators
    call(
        SK + "R.set_params(standardize=False, dtype='float32').fit(x + 1e9, y)",
        r"expected (standardize=True), or (dtype=\"float64\")",
        SK + r"R.set_params(dtype='float32', \1).fit(x + 1e9, y)",
        SK + r"R.set_params(standardize=False, \2).fit(x + 1e9, y)",
        needs="sklearn",
    ),
    call(
        SK + "C.set_params(steps='all').fit(x, np.arange(48).reshape(12, 4, 1) % 2)",
        r"give (y\[..., 0\])",
        SK + "y = np.arange(48).reshape(12, 4, 1) % 2\n" + r"C.set_params(steps='all').fit(x, \1)",
        needs="sklearn",
    ),
    call(
        SK + "C.fit(x, ['a', None, 'b'] * 4)",
        r"leave out those without, or give them a name",
        SK + "C.fit(np.delete(x, np.s_[1::3], 0), ['a', 'b'] * 4)",
        SK + "C.fit(x, ['a', 'none', 'b'] * 4)",
        needs="sklearn",
    ),
    call(
        SK + "F.fit(np.arange(20.0)[None])",
        r"give (y.T)",
        SK + r"y = np.arange(20.0)[None]; F.fit(\1)",
        needs="sklearn",
    ),
    call(
        SK + "R.set_params(loss='huber').fit(x, x[:, 0])",
        r"expected (\"mse\"), .*, (standardize=False), or one target",
        SK + r"R.set_params(loss=\1).fit(x, x[:, 0])",
        SK + r"R.set_params(loss='huber', \2).fit(x, x[:, 0])",
        SK + "R.set_params(loss='huber').fit(x, y)",
        needs="sklearn",
    ),
    call(
        SK + "F.set_params(loss='huber').fit(x[:, 0] * [1, 9] + np.arange(24).reshape(12, 2))",
        r"expected (\"mse\"), .* or series of one feature",
        SK + r"F.set_params(loss=\1).fit(x[:, 0])",
        SK + "F.set_params(loss='huber').fit(x[:, 0, 0])",
        needs="sklearn",
    ),
    call(
        SK + "C.set_params(early_stopping=True).partial_fit(x, k, [0, 1, 2])",
        r"does not support early_stopping=True",
        SK + "C.partial_fit(x, k, [0, 1, 2])",
        needs="sklearn",
    ),
    call(
        SK + "C.partial_fit(x, k)",
        r"(classes) must be passed",
        SK + r"C.partial_fit(x, k, \1=[0, 1, 2])",
        needs="sklearn",
    ),
    call(
        SK + "C.partial_fit(x, k, [0, 1, 2]); C.partial_fit(x, k + 1)",
        r"the first call",
        SK + "C.partial_fit(x, k, [0, 1, 2]); C.partial_fit(x, k)",
        needs="sklearn",
    ),
    call(
        SK + "C.partial_fit(x, k, [0, 1, 2]); C.partial_fit(x, k, [0, 1])",
        r"the first call",
        SK + "C.partial_fit(x, k, [0, 1, 2]); C.partial_fit(x, k, [0, 1, 2])",
        needs="sklearn",
    ),
    call(
        SK + "C.fit(x, np.eye(3)[k])",
        r"give (y.argmax\(axis=1\)); for several labels .* (fastbptt.fit) and (loss=\"bce\")",
        SK + r"y = np.eye(3)[k]; C.fit(x, \1)",
        SK + r"y = np.eye(3)[k]; \2(net3, x, y, \3, **once)",
        needs="sklearn",
    ),
    call(
        SK + "R.partial_fit(x, y); R.partial_fit(x, x[:, 0])",
        r"expected 1, as in the first",
        SK + "R.partial_fit(x, y); R.partial_fit(x, y)",
        needs="sklearn",
    ),
    call(
        SK + "C.set_params(steps='all').fit(x, k)",
        r"steps=\"all\" needs a target for every step",
        SK + "C.set_params(steps='all').fit(x, (x[:, :, 0] > 0) * 1)",
        needs="sklearn",
    ),
    call(
        SK + "C.fit(x[0, :, 0], k[:1])",
        r"one univariate series (np.reshape\(X, \(1, -1\)\))",
        SK + r"C.fit(x[:, :, 0], k); X = x[0, :, 0]; C.predict(\1)",
        needs="sklearn",
    ),
    call(
        SK + "C.fit(x, k); C.predict(x[0])",
        r"for one sequence give (X\[None\])",
        SK + r"C.fit(x, k); X = x[0]; C.predict(\1)",
        needs="sklearn",
    ),
    call(
        SK + "C.fit(x, k); C.predict(x[:, :, :1])",
        r"2, as in fit",
        SK + "C.fit(x, k); C.predict(x)",
        needs="sklearn",
    ),
    call(
        SK + "C.fit([pd.DataFrame(one, columns=['a', 'b']) for one in x], k)\n"
        "C.predict(pd.DataFrame(x[0], columns=['a', 'b']))",
        r"(\[X\]) for one",
        SK + "C.fit([pd.DataFrame(one, columns=['a', 'b']) for one in x], k)\n"
        r"X = pd.DataFrame(x[0], columns=['a', 'b']); C.predict(\1)",
        needs="sklearn",
    ),
    call(
        SK + "x[3, 1] = np.nan; C.fit(x, k)",
        r"as a list of arrays; .* is (fastbptt.*\))",
        SK + r"x[3, :2] = np.nan; X = x; C.fit(\1, k)",
        SK + "C.fit([x[0], *x[1:, :2]], k)",
        needs="sklearn",
    ),
    call(
        SK + DATES + "X = [pd.DataFrame(one, days[[0, 2, 1, 3]]) for one in x]; C.fit(X, k)",
        r"(\[one.sort_index\(\) for one in X\])",
        SK + DATES + "X = [pd.DataFrame(one, days[[0, 2, 1, 3]]) for one in x]\n"
        r"C.fit(\1, k)",
        needs="sklearn",
    ),
    call(
        FRAME + "X = df; C.fit(X, ['p'] * 4)",
        r"(data = fastbptt.datasets.from_frame\(df), id=.*then (fit\(data.x, data.y\)).* "
        r"(X.to_numpy\(\))",
        FRAME + r"\1, id='who', time='day', target='label'); C.\2",
        FRAME + r"X = df[['day', 'v']]; C.fit(\3, list('ppqq'))",
        needs="sklearn",
    ),
    call(
        FRAME + "C.fit(pd.DataFrame(x[:, :, 0]), k); C.set_params(warm_start=True)\nC.fit(x, k)",
        r"1, as in fit|expecting",
        FRAME + "C.fit(x, k)",
        needs="sklearn",
    ),
    # forecaster
    call(
        SK + "F.fit(series).predict(series)",
        r"for another series (predict\(y=series\))",
        SK + r"F.fit(series).\1",
        needs="sklearn",
    ),
    call(
        SK + "F.fit(series).predict(2, series)",
        r"None: predict\(h\), or (predict\(h, y=series\))",
        SK + r"h = 2; F.fit(series).\1",
        SK + r"F.fit(series).predict(2)",
        needs="sklearn",
    ),
    call(
        SK + "F.fit(series, series)",
        r"the series, (fit\(numpy.column_stack\(\[y, X\]\)\))",
        SK + r"y = X = series; F.\1",
        needs="sklearn",
    ),
    call(
        SK + "series[5] = np.nan; F.fit(series)",
        r"with the (interpolate\(\)) of pandas",
        SK + r"series[5] = np.nan; F.fit(pd.Series(series).\1)",
        needs="sklearn",
    ),
    call(
        SK + "F.fit(series).predict(y=np.ones((40, 2)))",
        r"expected 1, as in fit",
        SK + "F.fit(series).predict(y=np.ones(40))",
        needs="sklearn",
    ),
    call(
        SK + "F.fit(series[:8])",
        r"at least (\d+) because",
        SK + r"F.fit(series[:\1])",
        needs="sklearn",
    ),
    call(
        SK + "F.set_params(early_stopping=True).fit(series[:10])",
        r"because (early_stopping)=True",
        SK + r"F.set_params(\1=False).fit(series[:10])",
        needs="sklearn",
    ),
    call(
        SK
        + DATES
        + "y = pd.Series(series, pd.MultiIndex.from_product([[1, 2], days[:30]])); F.fit(y)",
        r"For several series: (\[.*\])",
        SK + DATES + "y = pd.Series(series, "
        r"pd.MultiIndex.from_product([[1, 2], days[:30]])); F.fit(\1)",
        needs="sklearn",
    ),
    call(
        SK + DATES + "y = pd.Series(series, days.strftime('%d.%m.%Y')); F.fit(y)",
        r"(y\.index = pandas.to_datetime\(y.index), format=..\), or (y.reset_index\(drop=True\))",
        SK + DATES + "y = pd.Series(series, days.strftime('%d.%m.%Y'))\n"
        r"\1, format='%d.%m.%Y'); F.fit(y)",
        SK + DATES + r"y = pd.Series(series, days.strftime('%d.%m.%Y')); F.fit(\2)",
        needs="sklearn",
    ),
    call(
        SK + "y = pd.Series(series, np.arange(60) % 7 * 60 + np.arange(60)); F.fit(y)",
        r"time: (sort_index\(\)) if .*, (reset_index\(drop=True\)) if",
        SK + r"y = pd.Series(series, np.arange(60) % 7 * 60 + np.arange(60)); F.fit(y.\1)",
        SK + r"y = pd.Series(series, np.arange(60) % 7 * 60 + np.arange(60)); F.fit(y.\2)",
        needs="sklearn",
    ),
    # C code
    call(
        BFLOAT16 + "m.export_c('a.c')",
        r'a model in (precision="float32") .*: (other.load_state_dict\(model.state_dict\(\)\))',
        BFLOAT16 + r"model, other = m, fastbptt.GRU(2, 3, 1, \1); \2; other.export_c('a.c')",
    ),
    call(
        "net.export_c('a.c', standardizer=3)",
        r"a fitted (fastbptt.Standardizer)",
        r"net.export_c('a.c', standardizer=\1().fit(x))",
    ),
    call(
        "net.export_c('a.c', data=x)",
        r'expected None unless (weights="int8") or ("int16")',
        r"net.export_c('a.c', data=x, \1)",
        r"net.export_c('a.c', data=x, weights=\2)",
    ),
    call(
        "fastbptt.GRU(2, 3, 1, bidirectional=True).export_c('a.c')",
        r"expected one direction",
        "fastbptt.GRU(2, 3, 1).export_c('a.c')",
    ),
    call(
        SCALED + "m.export_c('a.c')",
        r"expected (standardizer=), or (raw=True)",
        SCALED + r"m.export_c('a.c', \1s)",
        SCALED + r"m.export_c('a.c', \2)",
    ),
    call(
        "m = fastbptt.GRU(2, 3, 1); m.metadata['target_offset'] = [1e9]; m.export_c('a.c')",
        r"or (raw=True), and",
        r"m = fastbptt.GRU(2, 3, 1); m.metadata['target_offset'] = [1e9]; m.export_c('a.c', \1)",
    ),
    call(
        "m = fastbptt.GRU(2, 3, 1); m.metadata['steps'] = 'max'; m.export_c('a.c')",
        r"or (raw=True) for",
        r"m = fastbptt.GRU(2, 3, 1); m.metadata['steps'] = 'max'; m.export_c('a.c', \1)",
    ),
    call(
        TINY + "net.export_c('a.c', standardizer=s)",
        r"or (dtype=\"float64\")",
        TINY + r"net.export_c('a.c', standardizer=s, \1)",
    ),
    # several outputs
    call(
        "net.loss(x, {'a': np.ones(12)}, {'a': 'mse'})",
        r"loss is a mapping; expected (fastbptt.Losses)",
        r"net.loss(x, {'a': np.ones(12)}, \1({'a': 'mse'}))",
    ),
    call(
        "fastbptt.probabilities(np.ones((2, 1)), fastbptt.Losses({'a': 'bce'}))",
        r"expected one loss: a name or a (fastbptt.Loss)",
        r"fastbptt.probabilities(np.ones((2, 1)), \1('bce'))",
    ),
    call(
        "fit(net, x, y, loss='mse', metrics={'a': 'r2'}, **once)",
        r"names and functions, unless loss is a (fastbptt.Losses)",
        r"fit(net, x, {'a': y}, loss=\1({'a': 'mse'}), metrics={'a': 'r2'}, **once)",
        "fit(net, x, y, loss='mse', metrics=['r2'], **once)",
    ),
    call(
        "f = lambda z, t, w: (float(z.mean()), np.ones_like(z) / z.size)\n"
        "fit(net, x, y, loss=f, steps='mean', bptt_steps=2, **once)",
        r"expected (None) because steps",
        "f = lambda z, t, w: (float(z.mean()), np.ones_like(z) / z.size)\n"
        r"fit(net, x, y, loss=f, steps='mean', bptt_steps=\1, **once)",
    ),
    # passes without a backward one
    call(
        "net.forward(x, backward=False).hidden",
        r"call forward without it",
        "net.forward(x).hidden",
    ),
    call(
        "o = net.forward(x, backward=False); net.backward(o, d_outputs=o.outputs)",
        r"expected a pass that keeps its activations",
        "o = net.forward(x); net.backward(o, d_outputs=o.outputs)",
    ),
    # files of others
    call(
        "fastbptt.interchange.to_onnx(fastbptt.GRU(2, 3, 1, dtype='float64'), 'a.onnx')",
        r'expected (dtype="float32"), which rounds the weights, or (dtype="float64")',
        r"fastbptt.interchange.to_onnx(fastbptt.GRU(2, 3, 1, dtype='float64'), 'a.onnx', \1)",
        r"fastbptt.interchange.to_onnx(fastbptt.GRU(2, 3, 1, dtype='float64'), 'a.onnx', \2)",
    ),
    call(
        "fastbptt.interchange.to_rtneural(one, 'a.json', skip=True)\n"
        "fastbptt.interchange.from_rtneural('a.json')",
        r"expected 0, or (skip=True) here",
        "fastbptt.interchange.to_rtneural(one, 'a.json', skip=True)\n"
        r"fastbptt.interchange.from_rtneural('a.json', \1)",
    ),
    # plots
    call(
        "m = fastbptt.GradientMonitor(); fastbptt.plot.gradient_animation(m, 'a.html')",
        r"the callback after (fastbptt\.fit)",
        "m = fastbptt.GradientMonitor(); \\1(net, x, y, callbacks=[m], **once)\n"
        "fastbptt.plot.gradient_animation(m, 'a.html')",
        needs="matplotlib",
    ),
    call(
        MONITORED + "fastbptt.plot.gradient_animation(m, 'a.html', 'W_hh')",
        r'("hidden") or ("gates"), or a (GradientMonitor\(probe=\(x, y\)\))',
        MONITORED + r"fastbptt.plot.gradient_animation(m, 'a.html', \1)",
        MONITORED + r"fastbptt.plot.gradient_animation(m, 'a.html', \2)",
        "m = fastbptt.\\3; fit(net, x, y, callbacks=[m], **once)\n"
        "fastbptt.plot.gradient_animation(m, 'a.html', 'W_hh')",
        needs="matplotlib",
    ),
    call(
        MONITORED + "fastbptt.plot.gradient_animation(m, 'a.html', show='both')",
        r"expected (None) with (quantity=\"hidden\")",
        MONITORED + r"fastbptt.plot.gradient_animation(m, 'a.html', \2, show=\1)",
        needs="matplotlib",
    ),
    # several ranks
    call(
        OWN + JOB + "  fit(m, x, y, loss=own, comm=comm, **once)\non_ranks(job)",
        r"expected a loss by name, or a (fastbptt\.Loss), because",
        JOB + "  fit(m, x, y, loss='mse', comm=comm, **once)\non_ranks(job)",
        JOB + "  fit(m, x, y, loss=\\1('mse'), comm=comm, **once)\non_ranks(job)",
    ),
    call(
        JOB + "  m = fastbptt.GRU(2, 4, 1, seed=comm.Get_rank())\n"
        "  fit(m, x, y, comm=comm, **once)\non_ranks(job)",
        r"models with the same seed, or (model = comm\.bcast\(model\)) before fit",
        JOB + "  model = fastbptt.GRU(2, 4, 1, seed=comm.Get_rank())\n"
        "  \\1\n  fit(model, x, y, comm=comm, **once)\non_ranks(job)",
        JOB + "  fit(m, x, y, comm=comm, **once)\non_ranks(job)",
    ),
    call(
        JOB + "  m = fastbptt.GRU(2, 4, 1, dropout=0.5, num_layers=2, seed=0)\n"
        "  if comm.Get_rank(): m.loss_and_grad(x, y[:, None], 'mse')\n"
        "  fit(m, x, y, comm=comm, **once)\non_ranks(job)",
        r"on all ranks: (model = comm\.bcast\(model\)) before fit",
        JOB + "  model = fastbptt.GRU(2, 4, 1, dropout=0.5, num_layers=2, seed=0)\n"
        "  if comm.Get_rank(): model.loss_and_grad(x, y[:, None], 'mse')\n"
        "  \\1\n  fit(model, x, y, comm=comm, **once)\non_ranks(job)",
    ),
    call(
        JOB + "  start = m.state_dict()\n"
        "  if comm.Get_rank(): fit(m, x, y, optimizer=a, **once); m.load_state_dict(start)\n"
        "  fit(m, x, y, optimizer=a, comm=comm, **once)\non_ranks(job)",
        r"on all ranks: (optimizer = comm\.bcast\(optimizer\)) before fit",
        JOB + "  start, optimizer = m.state_dict(), a\n"
        "  if comm.Get_rank(): fit(m, x, y, optimizer=a, **once); m.load_state_dict(start)\n"
        "  \\1\n  fit(m, x, y, optimizer=optimizer, comm=comm, **once)\non_ranks(job)",
    ),
    call(
        DAMAGED + RESUMED + ")\nwith mock.patch.object(loop, 'Order', Damaged): on_ranks(job)",
        r"'ranks\.ckpt' holds the last checkpoint, from which (resume=True) goes on",
        RESUMED + ", \\1)\non_ranks(job)",
    ),
    call(
        JOB + "  fastbptt.set_num_threads(64)\n"
        "  comm.allgather(0)\n"
        "  fit(m, x, y, comm=comm, **once)\non_ranks(job)",
        r"wait for each other; (fastbptt\.set_num_threads\(1\)) in all ranks",
        JOB + "  \\1\n  comm.allgather(0)\n  fit(m, x, y, comm=comm, **once)\non_ranks(job)",
    ),
    # many models
    call(
        "fit_many(several, x, y, checkpoint='models', **once)\n"
        "fit_many(several, x, y, checkpoint='models', **once)",
        r"expected (resume=True) to go on with it, or another folder",
        "fit_many(several, x, y, checkpoint='models', \\1, **once)",
        "fit_many(several, x, y, checkpoint='models 2', **once)",
    ),
    call(
        "class Again(fastbptt.Callback):\n"
        "  def on_epoch_end(self, run): fit_many(several, x, y, checkpoint='models 3', **once)\n"
        "each = {'callbacks': [[Again()] for _ in several]}\n"
        "fit_many(several, x, y, checkpoint='models 3', each=each, **once)",
        r"in use by another run; expected a folder of this one's own",
        "fit_many(several, x, y, checkpoint='models 4', **once)",
    ),
    call(
        "fit_many([net], 5, y, rows=[[0]], **once)",
        r"expected sequences, as fit takes",
        "fit_many([net], x, y, rows=[[0]], **once)",
    ),
    call(
        "fit_many([net, fastbptt.GRU(2, 5, 1)], x, y, **once)",
        r"call (fit_many) once for each architecture",
        "\\1([net], x, y, **once); \\1([fastbptt.GRU(2, 5, 1)], x, y, **once)",
    ),
    call(
        "fit_many(net, x, y, **once)",
        r"expected a list of models, or (fastbptt\.fit) for one",
        "\\1(net, x, y, **once)",
        "fit_many([net], x, y, **once)",
    ),
    call(
        "fit_many(several, x, y, callbacks=[fastbptt.Callback()], **once)",
        r"expected (each=\{\"callbacks\": \[)\.\.(\]\}) with a list for each model",
        "fit_many(several, x, y, \\1[fastbptt.Callback()] for _ in several\\2, **once)",
    ),
    call(
        "fit_many(several, x, y, validation_rows=[[0]] * 3, **once)",
        r"expected the (rows) to train on as well",
        "fit_many(several, x, y, validation_rows=[[0]] * 3, \\1=[[1, 2, 3]] * 3, **once)",
    ),
    call(
        "fit_many(several, x, y, comm=0, **once)",
        r"give each its own models, or call (fit\(comm=)\) for each model",
        JOB + "  \\1comm, model=m, x=x, y=y, **once)\non_ranks(job)",
        "fit_many(several, x, y, **once)",
    ),
    call(
        "fit_many(several, x, y, each={'lr': [0.1, 0.2, 0.3]}, **once)",
        r"expected (\"optimizer\": \[fastbptt\.Adam\(lr\) for lr in rates\]) for learning rates",
        "rates = [0.1, 0.2, 0.3]; fit_many(several, x, y, each={\\1}, **once)",
    ),
    call(
        "fit_many(several, x, y, lr=0.1, **once)",
        r"no argument 'lr'; expected (optimizer=fastbptt\.Adam\(0\.1\)) for a learning rate",
        "fit_many(several, x, y, \\1, **once)",
    ),
    call(
        "fit_many(several, x, y, **once)['north']",
        r"expected numbers, since fit_many was called without (names=)",
        "fit_many(several, x, y, \\1['a', 'b', 'north'], **once)['north']",
        "fit_many(several, x, y, **once)[2]",
    ),
    call(
        "fit_many(several, x, y, names=['a', 'b', 'north'], **once)['nort']",
        r"no model is called 'nort'; expected such as ('north')",
        "fit_many(several, x, y, names=['a', 'b', 'north'], **once)[\\1]",
    ),
    call(
        NO_PART + "job(MPI.COMM_NULL)",
        r"expected fit to be called by its ranks alone: (if comm != MPI\.COMM_NULL)",
        NO_PART.replace("  fit(", "  \\1: fit(") + "job(MPI.COMM_NULL)",
    ),
    call(
        "fit_many(several, x, y, epoch=1, **once)",
        r"no argument 'epoch'; expected its own, or those of fit: .*?(epochs)",
        "fit_many(several, x, y, verbose=0, \\1=1)",
    ),
    call(
        "fit_many(several, x, y, each={'epoch': [1, 2, 3]}, **once)",
        r"expected arguments of fit: .*?(epochs)",
        "fit_many(several, x, y, verbose=0, each={'\\1': [1, 2, 3]})",
    ),
    call(
        "fit_many(several, None, y, **once)",
        r"expected data of all models, or (each=\{'x': \[)\.\.(\]\})",
        "fit_many(several, x, y, **once)",
        "fit_many(several, None, y, \\1x] * 3}, **once)",
    ),
    call(
        "fit_many(several, iter([(x, y)]), y, **once)",
        r"expected all sequences; (fit) takes iterators",
        "\\1(net, iter([(x, y)]), loss='mse', steps_per_epoch=1, **once)",
        "fit_many(several, x, y, **once)",
    ),
    # ensembles
    call(
        SK + "C.set_params(n_estimators=2, warm_start=True).fit(x, k)",
        r"expected False: an ensemble is trained anew; or (n_estimators=1)",
        SK + "C.set_params(n_estimators=2, warm_start=False).fit(x, k)",
        SK + "C.set_params(warm_start=True, \\1).fit(x, k)",
        needs="sklearn",
    ),
    call(
        SK + "C.set_params(bootstrap=True, warm_start=True).fit(x, k)",
        r"expected (False): each call would draw others",
        SK + "C.set_params(bootstrap=True, warm_start=\\1).fit(x, k)",
        needs="sklearn",
    ),
    call(
        SK + "C.set_params(n_estimators=2).fit(x, k).loss_curve_",
        r"each of estimators_ has its own, such as (estimators_\[0\]\.loss_curve_)",
        SK + "C.set_params(n_estimators=2).fit(x, k).\\1",
        needs="sklearn",
    ),
    call(
        SK + "C.set_params(bootstrap=True).partial_fit(x, k)",
        r"partial_fit does not support (bootstrap)=True",
        SK + "C.set_params(\\1=False).partial_fit(x, k, [0, 1, 2])",
        needs="sklearn",
    ),
]


def execute(code: str) -> str:
    """Run statements; return the message of the error or warning that ends them, or ""."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.filterwarnings(
            "error", message=".*(has no effect|cannot tell these apart|wait for each other)"
        )
        try:
            exec(code, names())
        except Exception as error:
            return str(error) or type(error).__name__
    return ""


@pytest.mark.parametrize("entry", CALLS, ids=[one.code.split("\n")[-1][:60] for one in CALLS])
def test_calls(entry: Call, place: Path) -> None:
    if entry.needs:
        pytest.importorskip(entry.needs)
    text = SAID[entry.code] = execute(entry.code)
    found = re.search(entry.advice, text, re.DOTALL)
    assert text, "it does not fail"
    assert found, text
    for one in entry.follow:
        code = found.expand(one.replace("\n", "\x00")).replace("\x00", "\n")
        assert execute(code) == "", code


# ---------------------------------------------------------------- none is left out

ADVICE = re.compile(
    r"\b(use|pass|give|try|add|call|install|choose|fill|reshape|rename|train|write|remove|fit)\b"
    r"|--[a-z]|fastbptt\.|\w\[None\]|\b\w+=[\"'{\w(]|_index|leaves|for example|instead",
    re.IGNORECASE,
)
EXPECTED = re.compile(rf"expected|{ADVICE.pattern}", re.IGNORECASE)
SUGGESTION = re.compile(r"\bsetting\(|arguments\.\w+_column")
ELSEWHERE = (  # parts whose advice has tests of its own, or is for those who measure speed
    "__init__.py",  # tests/models/test_threads_of_python.py: subinterpreters
    "diagnostics/",  # tests/diagnostics/test_advice.py
    "bench/",
    "reporting/",
    "plot/unrolled.py",
    "reference/",
    "cli/demo.py",  # tests/cli/test_next.py
    "cli/export.py",  # tests/interchange/test_formats.py
    "torch/",  # tests/torch/test_arguments.py
    "interchange/",  # tests/interchange, where the packages are that it is about
    "c_source/header.py",  # C
    "config.py",
)
#: Texts that the pattern takes for advice, and advice that needs a network or other data.
NO_ADVICE = (
    r"pip (install|download)|install it",
    r"the folder aclImdb",
    r"write-protected",
    r"^Tokenizer\(",
    r"is frame {}; expected",
    r"steps in all; expected at most",
    r"^input_size=|^, num_layers=|^, embedding=",
    r"reached without convergence",
    r"half of the memory",
    r"^Losses\(",
    r"^NeurogymTask\(",
    r"neurogym cannot be imported|none beside an environment",
)


def texts() -> Iterator[tuple[str, str, str]]:
    """Messages in the sources that give advice: place, text, and a pattern of what it becomes."""
    for path in sorted(ROOT.rglob("*.py")):
        place = path.relative_to(ROOT).as_posix()
        if place.startswith(ELSEWHERE):
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
        for node in ast.walk(tree):
            parent = parents.get(node)
            within = isinstance(parent, ast.JoinedStr | ast.FormattedValue | ast.Expr)
            if (
                within
                or not isinstance(node, ast.JoinedStr | ast.Constant)
                or is_help(node, parents)
            ):
                continue
            parts = node.values if isinstance(node, ast.JoinedStr) else [node]
            if not all(
                isinstance(one, ast.FormattedValue) or isinstance(one.value, str) for one in parts
            ):
                continue
            words = "".join(one.value if isinstance(one, ast.Constant) else "{}" for one in parts)
            code = " ".join(
                ast.unparse(one) for one in parts if isinstance(one, ast.FormattedValue)
            )
            if " " not in words.strip() or not (
                (EXPECTED if place.startswith("cli/") else ADVICE).search(words)
                or SUGGESTION.search(code)
            ):
                continue
            pattern = "".join(
                re.escape(one.value) if isinstance(one, ast.Constant) else ".*?" for one in parts
            )
            yield f"{place}:{node.lineno}", words, pattern


def is_help(node: ast.AST, parents: dict[ast.AST, ast.AST]) -> bool:
    """Whether a text is in a call that makes an option or a format: shown by --help."""
    while (node := parents.get(node)) is not None:  # type: ignore[assignment]
        if isinstance(node, ast.Raise):
            return False
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func).rpartition(".")[2]
            if name in ("Option", "Format", "add_argument", "add_subcommand", "ArgumentParser"):
                return True
    return False


SAID: dict[str, str] = {}  # what the entries' calls have said


def messages() -> str:
    """All that the entries' calls say; those that have run already are not repeated."""
    for one in COMMANDS:
        if one.line not in SAID:
            SAID[one.line] = run(one.line)[1]
    for other in CALLS:
        if other.code not in SAID:
            SAID[other.code] = execute(other.code)
    return "\n\n".join(SAID.values())


@pytest.mark.slow
def test_every_advice_is_followed(place: Path) -> None:
    for module in ("sklearn", "pandas"):
        pytest.importorskip(module)
    left, known, said = [], dict.fromkeys(NO_ADVICE, 0), messages()
    if not HAS_BFLOAT16:  # then another message comes first
        known['^"float32" because dtype='] = 0
    found = list(texts())
    assert len(found) > 100
    for where, words, pattern in found:
        of = next((one for one in known if re.search(one, words)), None)
        if of is not None:
            known[of] += 1
        elif not re.search(pattern, said):
            left.append(f"{where}: {words}")
    assert not left, "\n".join(left)
    assert all(known.values()), known
