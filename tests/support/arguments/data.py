"""Entries of `fastbptt.datasets` and of the standardizer."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
from effects import Each, Entry, Refused, With

import fastbptt
from fastbptt import datasets
from fastbptt.datasets import formats

from .common import EACH, LENGTHS, NAN, WEIGHT, X


def _rows(value: str, head: str = "id,step,u,v,w,label", gap: str = "") -> str:
    """A table of 4 sequences of 3 steps, the latest first, with a gap in each."""
    names = head.split(",")
    lines = []
    for i in range(4):
        for t in range(3):
            cells = {"id": i, "step": 3 - t, "u": value if t else gap, "v": t, "w": i % 3}
            cells["label"] = "pq"[i % 2]
            lines.append(",".join(str(cells[name]) for name in names))
    return "\n".join([head, *lines]) + "\n"


ARFF = "@attribute {} numeric\n@attribute {} numeric\n@attribute label {{p,q}}\n@data\n"
BOX = "0.5 0.5 0.25 0.25 0.5"
TEXTS = {
    "a.csv": _rows("1"),
    "b.csv": _rows("2"),
    "none.csv": _rows("1", "id,step,u,label").partition("\n")[2],
    "odd.csv": _rows("1").replace(",", "~"),
    "commas.csv": _rows("1.523", gap="2.255").replace(",", ";").replace(".", ","),
    "wide.csv": "label,a,b,c\np,1,2,3\nq,4,5,6\n",
    "bare.csv": _rows("1", "id,step,u,v"),
    "labels.csv": "id,label\n0,p\n1,q\n2,p\n3,q\n",
    "steps.csv": "id,step,u,label\n0,0,1,p\n0,1,2,\n1,0,1,q\n1,1,2,q\n",
    "a.ts": "@classLabel true a b\n@data\n1,2,?:a\n2,3,4:b\n",
    "b.ts": "@classLabel true a b\n@data\n1,2,5:a\n2,3,4:b\n",
    "a.arff": ARFF.format("v0", "v1") + "?,1,p\n3,0.1,q\n4,5,p\n",
    "b.arff": ARFF.format("v0", "v1") + "9,2,p\n9,1,q\n3,1,q\n",
    "numbers.arff": ARFF.format("v0", "v1").replace("{p,q}", "numeric") + "9,2,1\n9,1,2\n",
    "table.arff": ARFF.format("id", "step").replace(
        "@data",
        "@attribute u numeric\n@attribute v numeric\n@attribute kind {r,s}\n@data",
    )
    + "1,2,p,1,8,r\n1,1,p,2,8,r\n0,1,q,3,7,s\n",
    "steps.arff": ARFF.format("id", "step").replace("{p,q}", "{p,q}\n@attribute v numeric")
    + "9,2,p,1\n9,1,,2\n3,1,q,3\n3,2,p,3\n",
    "a.tsf": "@attribute n string\n@data\na:1,?,0.1,4\nb:3,4,1,1\n",
    "b.tsf": "@attribute n string\n@data\na:1,7,3\n",
    "labels/s_1.txt": f"0 {BOX}\n",
    "labels/s_3.txt": f"1 {BOX}\n",
    "more/s_2.txt": f"1 {BOX}\n",
    "two/s_1.txt": f"0 {BOX}\n",
    "two/t_1.txt": f"1 {BOX}\n",
}
for _part, _name in ((part, name) for part in ("TRAIN", "TEST") for name in ("Steps", "Jumps")):
    TEXTS[f"sets/{_name}_{_part}.ts"] = TEXTS["a.ts"].replace("2,3", f"{len(_name + _part)},3")
    TEXTS[f"more/{_name}_{_part}.ts"] = TEXTS["b.ts"]
for _folder in ("imdb", "films"):
    for _part in ("train/pos/0_9", "train/neg/0_2", "test/pos/0_10", "test/neg/0_1"):
        TEXTS[f"{_folder}/{_part}.txt"] = f"This is {_folder}."
        TEXTS[f"{_folder}/{_part.replace('0_', '1_')}.txt"] = f"Again {_folder}."
for _folder in ("vader", "sith"):
    for _name in ("movie", "amazon"):
        TEXTS[f"{_folder}/{_name}ReviewSnippets_GroundTruth.txt"] = (
            f"1\t2.5\tA {_name}, {_folder}\n"
        )
ARRAYS: dict[str, dict[str, Any]] = {
    "a.npz": {"x": NAN[:3, :4], "y": [0, 1, 0]},
    "b.npz": {"x": X[:3, :4], "y": [0, 1, 0]},
    "steps.npz": {"x": X[:3, :4], "y": EACH[:3, :4].astype(int)},
    "keras.npz": {"x_test": X[:3, :4], "y_test": [0, 1, 0], "z": [0, 1, 1]},
    "words.npz": {"x": np.arange(12).reshape(3, 4), "y": [0, 1, 0]},
}


def on_files(function: Callable[..., Any]) -> Callable[..., Any]:
    """Call a function where the files are; leave none but what it writes."""

    def call(options: Any = None, **arguments: Any) -> Any:
        for name, text in TEXTS.items():
            Path(name).parent.mkdir(parents=True, exist_ok=True)
            Path(name).write_text(text)
        for name, arrays in ARRAYS.items():
            np.savez(name, **arrays)
        return function(**arguments, **(options or {}))

    return call


RESULT = SimpleNamespace(cls=[0], xywhn=[[0.5, 0.5, 0.2, 0.2]], conf=[0.7], id=[3])
RESULT = SimpleNamespace(boxes=RESULT)
CLIP = datasets.Detections(
    np.array([0, 1]),
    np.array([0, 1]),
    np.full((2, 4), 0.25),
    np.array([0.5, 0.75]),
    np.array([1, 1]),
    2,
)


def _worded(name: str, **arguments: Any) -> Any:
    """Call a method of a tokenizer; return its result and the tokenizer."""
    made = datasets.Tokenizer().fit(["a b c", "b d"])
    for file, texts in (("a.json", ["a b"]), ("b.json", ["c d"])):
        if name == "load":
            datasets.Tokenizer().fit(texts).save(file)
    return getattr(made, name)(**arguments), vars(made)


TABLE: dict[str, Any] = {"path": "table.arff", "layout": "long"}


def _imputed(name: str, **arguments: Any) -> Any:
    made = fastbptt.Imputer().fit(NAN)
    return getattr(made, name)(**arguments), made


SCALES = [fastbptt.Standardizer().fit(one).to_dict() for one in (X, X**2)]


def _standardized(method: str, /, **arguments: Any) -> Any:
    made = fastbptt.Standardizer()
    if method in ("transform", "inverse_transform"):
        made.fit(X**2)
    found = getattr(made, method)(**arguments)
    return found if isinstance(found, np.ndarray) else (made.mean_, made.scale_)


FRAME = pd.DataFrame(
    {
        "i": [1, 1, 2],
        "t": [2, 1, 1],
        "a": [1.0, 2.0, 3.1],
        "b": [4.0, 5.0, 6.0],
        "c": ["u", "u", "v"],
    }
)
TASK = {"n": 5, "length": 21, "seed": 1}
ENTRIES: dict[str, Entry] = {
    "datasets.pad": Entry(
        datasets.pad,
        {"sequences": [[1, 2], [3]]},
        {"sequences": [[1], [3]], "value": 9, "max_length": 1},
    ),
    "datasets.unpad": Entry(
        datasets.unpad,
        {"padded": [[0, 1, 2, 0], [3, 4, 5, 5]]},
        {
            "padded": [[1, 2, 3, 0]],
            "lengths": [1, 2],
            "value": 5,
            "padding": "pre",
        },
    ),
    "datasets.from_frame": Entry(
        datasets.from_frame,
        {"df": FRAME, "features": "a", "target": "c", "id": "i"},
        {
            "df": FRAME.assign(a=3.0),
            "id": With(None, {"target": None}),
            "time": "t",
            "features": ["b", "a"],
            "target": None,
            "steps": Each("all", Refused("all", "without target", {"target": None})),
            "missing": With(
                "mask", {"df": FRAME.assign(c=["u", None, "u"]), "id": None, "steps": "all"}
            ),
            "classes": Each(
                ["z", "v", "u"], Refused(["u", "v"], "without target", {"target": None})
            ),
            "dtype": "float32",
        },
    ),
    "datasets.read": Entry(
        on_files(datasets.read),
        {"path": "a.csv"},
        {"path": "b.csv", "options": {"missing": "interpolate"}},
    ),
    "datasets.read_csv": Entry(
        on_files(datasets.read_csv),
        {"path": "a.csv"},
        {
            "path": "b.csv",
            "id": With(None, {"features": ["u"], "labels": False, "step": None}),
            "step": None,
            "label": With("w", {"labels": True}),
            "target": "w",
            "features": ["u"],
            "steps": "all",
            "classes": Each(["z", "p", "q"], Refused(["p", "q"], "classes is", {"labels": False})),
            "exclude": ["u"],
            "categories": ["v"],
            "label_file": With("labels.csv", {"path": "bare.csv"}),
            "weight": Each("w", Refused("w", "weight has no effect", {"labels": False})),
            "unlabelled": With("drop", {"path": "steps.csv", "steps": "all"}),
            "layout": With("wide", {"path": "wide.csv"}),
            "header": With("none", {"path": "none.csv", "id": "1", "step": "2", "label": "4"}),
            "delimiter": Each(
                With("~", {"path": "odd.csv"}), Refused(";", "one column with delimiter=';'")
            ),
            "decimal": Each(
                With(",", {"path": "commas.csv"}), Refused(",", "a comma separates the cells")
            ),
            "missing": Each("interpolate", With("mask", {"path": "steps.csv", "steps": "all"})),
            "dtype": "float32",
            "labels": False,
        },
    ),
    "datasets.read_npz": Entry(
        on_files(datasets.read_npz),
        {"path": "a.npz"},
        {
            "path": "b.npz",
            "x": With("x_test", {"path": "keras.npz"}),
            "y": With("z", {"path": "keras.npz", "x": "x_test"}),
            "steps": With("all", {"path": "steps.npz"}),
            "tokens": With(True, {"path": "words.npz"}),
            "classes": Each(
                ["1", "0"],
                Refused(["0", "1"], "classes is", {"labels": False}),
            ),
            "missing": Each(
                "interpolate",
                Refused("interpolate", "missing is", {"path": "words.npz", "tokens": True}),
            ),
            "dtype": "float32",
            "labels": False,
        },
    ),
    "datasets.read_arff": Entry(
        on_files(datasets.read_arff),
        {"path": "a.arff"},
        {
            "path": "b.arff",
            "layout": With("long", {"path": "table.arff"}),
            "id": With("v0", {"path": "b.arff", "layout": "long", "labels": False, "step": None}),
            "step": With("v1", {"layout": "long", "id": None, "labels": False}),
            "label": With("label", {**TABLE, "features": ["u"]}),
            "target": With("v", {**TABLE, "features": ["u"]}),
            "features": With(["u"], TABLE),
            "exclude": With(["v"], TABLE),
            "categories": With(["v"], TABLE),
            "label_file": With("labels.csv", {**TABLE, "features": ["u"]}),
            "weight": With("v", {**TABLE, "features": ["u"], "steps": "all"}),
            "steps": With("all", {**TABLE, "features": ["u"]}),
            "unlabelled": With("drop", {"path": "steps.arff", "layout": "long", "steps": "all"}),
            "classes": Each(["q", "p"], Refused(["p", "q"], "classes is", {"labels": False})),
            "missing": "interpolate",
            "dtype": "float32",
            "labels": False,
        },
    ),
    "datasets.read_tsf": Entry(
        on_files(datasets.read_tsf),
        {"path": "a.tsf"},
        {
            "path": "b.tsf",
            "ahead": With(1, {"missing": "interpolate"}),
            "steps": With("last", {"ahead": 2, "missing": "interpolate"}),
            "classes": Refused(["a"], "expected no classes"),
            "missing": "interpolate",
            "dtype": "float32",
            "labels": Refused(False, "ahead has no effect", {"ahead": 1, "missing": "interpolate"}),
        },
    ),
    "datasets.write_npz": Entry(
        datasets.write_npz,
        {"path": "a.npz", "x": X[:2], "y": [0, 1]},
        {
            "path": "b.npz",
            "x": X[2:4],
            "y": [1, 0],
            "lengths": [2, 6],
            "classes": ["p", "q"],
            "feature_names": ["u", "v"],
            "ids": ["first", "second"],
        },
    ),
    "datasets.read_ts": Entry(
        on_files(datasets.read_ts),
        {"path": "a.ts"},
        {
            "path": "b.ts",
            "classes": Each(["b", "a"], Refused(["a", "b"], "classes is", {"labels": False})),
            "missing": "interpolate",
            "dtype": "float32",
            "labels": False,
        },
    ),
    "datasets.load_ts": Entry(
        on_files(datasets.load_ts),
        {"name": "Steps", "where": "sets"},
        {"name": "Jumps", "where": "more", "missing": "interpolate", "dtype": "float32"},
    ),
    "datasets.find_ts": Entry(
        on_files(datasets.find_ts),
        {"name": "Steps", "where": "sets"},
        {"name": "Jumps", "where": "more"},
    ),
    "datasets.read_yolo": Entry(
        on_files(datasets.read_yolo),
        {"folder": "labels"},
        {"folder": "more", "clip": With("t", {"folder": "two"}), "frames": 5, "first": 0},
    ),
    "datasets.write_yolo": Entry(
        datasets.write_yolo,
        {"folder": "a", "clip": "s", "detections": CLIP},
        {
            "folder": "b",
            "clip": "t",
            "detections": CLIP._replace(label=np.array([1, 1])),
            "first": 0,
            "confidence": False,
            "tracks": False,
        },
    ),
    "datasets.yolo_clips": Entry(
        on_files(datasets.yolo_clips), {"folder": "labels"}, {"folder": "two"}
    ),
    "datasets.from_results": Entry(
        datasets.from_results, {"results": [RESULT]}, {"results": [RESULT, RESULT]}
    ),
    "datasets.feature_names": Entry(
        datasets.feature_names, {"classes": 2}, {"classes": 3, "confidence": False, "tracks": True}
    ),
    "datasets.frame_features": Entry(
        datasets.frame_features,
        {"detections": CLIP, "classes": 2},
        {
            "detections": CLIP._replace(label=np.array([1, 1])),
            "classes": 3,
            "confidence": False,
            "tracks": True,
            "dtype": "float64",
        },
    ),
    "datasets.Detections.empty": Entry(datasets.Detections.empty, {"frames": 1}, {"frames": 2}),
    "datasets.load_imdb": Entry(
        on_files(datasets.load_imdb), {"folder": "imdb"}, {"folder": "films", "limit": 1}
    ),
    "datasets.load_snippets": Entry(
        on_files(datasets.load_snippets), {"path": "vader"}, {"path": "sith", "name": "amazon"}
    ),
    "datasets.formats.Format.takes": Entry(
        formats.find("a.npz").takes, {"name": "tokens"}, {"name": "layout"}
    ),
    "datasets.make_adding": Entry(datasets.make_adding, {"n": 4, "length": 9, "seed": 0}, TASK),
    "datasets.make_copy": Entry(
        datasets.make_copy,
        {"n": 4, "delay": 9, "seed": 0},
        {"n": 5, "delay": 8, "symbols": 5, "memorize": 3, "tokens": True, "seed": 1},
    ),
    "datasets.make_delayed_xor": Entry(
        datasets.make_delayed_xor, {"n": 4, "length": 9, "seed": 0}, TASK
    ),
    "datasets.make_temporal_order": Entry(
        datasets.make_temporal_order, {"n": 4, "length": 20, "seed": 0}, {**TASK, "tokens": True}
    ),
    "datasets.make_scenes": Entry(
        datasets.make_scenes,
        {"n": 4, "seed": 0},
        {
            "n": 5,
            "kinds": ("turning",),
            "frames": (11, 12),
            "missed": 0.5,
            "jitter": 0.1,
            "spurious": 0.5,
            "people": 3,
            "seed": 1,
        },
    ),
    "datasets.Tokenizer": Entry(
        lambda **settings: vars(datasets.Tokenizer(**settings).fit(["A b b c", "a b d d"])),
        {},
        {"max_size": 4, "min_count": 2, "lower": False},
    ),
    **{
        f"Standardizer.{name}": Entry(
            partial(_standardized, name),
            {"x": X},
            {
                "x": X + np.arange(6)[:, None],
                "lengths": LENGTHS,
                **({"sample_weight": WEIGHT} if "fit" in name else {}),
                **(
                    {"name": Refused("data", "data holds nan", {"x": NAN})}
                    if name in ("fit", "partial_fit")
                    else {}
                ),
                **({"dtype": "float32"} if name == "transform" else {}),
            },
        )
        for name in ("fit", "partial_fit", "fit_transform", "transform", "inverse_transform")
    },
    **{
        f"Imputer.{name}": Entry(
            partial(_imputed, name), {"x": NAN}, {"x": X, "lengths": np.full(12, 3)}
        )
        for name in ("fit", "fit_transform", "transform")
    },
    "Imputer.get_feature_names_out": Entry(
        partial(_imputed, "get_feature_names_out"),
        {"input_features": ["u", "v"]},
        {"input_features": ["u", "w"]},
    ),
    "Imputer.from_dict": Entry(
        fastbptt.Imputer.from_dict,
        {"values": {"n_features_in": 2, "features": [1]}},
        {"values": {"n_features_in": 2, "features": [0]}},
    ),
    "Standardizer.from_dict": Entry(
        fastbptt.Standardizer.from_dict, {"values": SCALES[0]}, {"values": SCALES[1]}
    ),
    "datasets.Tokenizer.split": Entry(partial(_worded, "split"), {"text": "a b"}, {"text": "b, c"}),
    "datasets.Tokenizer.fit": Entry(
        partial(_worded, "fit"), {"texts": ["a b"]}, {"texts": ["b c"]}
    ),
    "datasets.Tokenizer.encode": Entry(
        partial(_worded, "encode"), {"texts": ["a b"]}, {"texts": ["b c"], "max_length": 1}
    ),
    "datasets.Tokenizer.decode": Entry(
        partial(_worded, "decode"), {"numbers": [2, 3]}, {"numbers": [3, 4]}
    ),
    "datasets.Tokenizer.save": Entry(
        partial(_worded, "save"), {"path": "a.json"}, {"path": "b.json"}
    ),
    "datasets.Tokenizer.load": Entry(
        partial(_worded, "load"), {"path": "a.json"}, {"path": "b.json"}
    ),
}
