"""Data: sets that ship with the package, readers of common formats, synthetic tasks.

:func:`load_japanese_vowels`
    nine speakers; ships with the package
:func:`read`
    a file of any format, by its suffix: the next five
:func:`read_ts`, :func:`load_ts`
    ``.ts`` files of the UCR and UEA archives (sktime, aeon)
:func:`read_tsf`
    ``.tsf`` files of the Monash archive: series to forecast
:func:`read_arff`
    ``.arff`` files of the UCR and UEA archives and of Weka
:func:`read_csv`
    a table with one row per step, ``.csv``
:func:`read_npz`, :func:`write_npz`
    arrays, ``.npz``
:func:`load_imdb`
    film reviews, the folder ``aclImdb``
:func:`load_snippets`
    one-sentence reviews, from vaderSentiment's source package
:class:`Tokenizer`, :func:`pad`, :func:`unpad`
    text to whole numbers, sequences to one array and back
:func:`from_frame`
    a pandas frame with one row per step
:func:`read_yolo`, :func:`write_yolo`, :func:`from_results`, :func:`frame_features`
    detections in the frames of a video, as sequences
:func:`make_scenes`
    synthetic scenes of detections
:func:`make_adding`, :func:`make_copy`, :func:`make_delayed_xor`, :func:`make_temporal_order`
    tasks that need a long memory
:mod:`~fastbptt.datasets.tasks`
    tasks of systems neuroscience: decisions, working memory, timing

Nothing is downloaded. Other sets are searched for in the given place, in installed packages, in the
folder named by the environment variable ``FASTBPTT_DATA``, and in the current folder; if a set is
missing, the error tells how to get it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import tasks
    from .arff import read_arff
    from .arrays import read_npz, write_npz
    from .frames import from_frame
    from .memory import SyntheticTask, make_adding, make_copy, make_delayed_xor, make_temporal_order
    from .reading import read
    from .reviews import Texts, load_imdb, load_snippets
    from .scenes import Scenes, make_scenes
    from .sequences import Sequences, pad, unpad
    from .tables import read_csv
    from .text import Tokenizer
    from .ts import find_ts, load_ts, read_ts
    from .tsf import read_tsf
    from .video import (
        Detections,
        feature_names,
        frame_features,
        from_results,
        read_yolo,
        write_yolo,
        yolo_clips,
    )
    from .vowels import Dataset, load_japanese_vowels

__all__ = [
    "Dataset",
    "Detections",
    "Scenes",
    "Sequences",
    "SyntheticTask",
    "Texts",
    "Tokenizer",
    "feature_names",
    "find_ts",
    "frame_features",
    "from_frame",
    "from_results",
    "load_imdb",
    "load_japanese_vowels",
    "load_snippets",
    "load_ts",
    "make_adding",
    "make_copy",
    "make_delayed_xor",
    "make_scenes",
    "make_temporal_order",
    "pad",
    "read",
    "read_arff",
    "read_csv",
    "read_npz",
    "read_ts",
    "read_tsf",
    "read_yolo",
    "tasks",
    "unpad",
    "write_npz",
    "write_yolo",
    "yolo_clips",
]

# The modules with the public names, imported in this order until one has the name asked for.
_MODULES = (
    "vowels",
    "sequences",
    "memory",
    "text",
    "reviews",
    "video",
    "scenes",
    "ts",
    "tsf",
    "arff",
    "tables",
    "frames",
    "arrays",
    "reading",
)


def __getattr__(name: str) -> Any:
    if name == "tasks":
        return importlib.import_module(".tasks", __name__)
    if name in __all__:
        for module_name in _MODULES:
            module = importlib.import_module(f".{module_name}", __name__)
            if name in module.__all__:
                return getattr(module, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
