"""ONNX Runtime: a session on the file that `fastbptt.interchange.to_onnx` writes."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from ...interchange import to_onnx
from ..case import Problem
from . import Predictor, Variants


class OnnxRuntime(Predictor):
    """``session.run``, one operator after the other."""

    def __init__(self, problem: Problem, threads: int) -> None:
        case = problem.case
        ragged = problem.lengths is not None
        model = Problem(case.with_(precision="float32")).model
        content = to_onnx(model, steps=case.steps, lengths=ragged)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        self.session = onnxruntime.InferenceSession(
            content, options, providers=["CPUExecutionProvider"]
        )
        self.feed: dict[str, NDArray[Any]] = {"x": problem.x}
        if problem.lengths is not None:
            self.feed["lengths"] = problem.lengths.astype(np.int32)

    def outputs(self) -> NDArray[Any]:
        found: NDArray[Any] = self.session.run(["outputs"], self.feed)[0]
        return found


def variants(problem: Problem, threads: int) -> Variants:
    """Return the only variant."""
    return {"run": partial(OnnxRuntime, problem, threads)}


def version() -> str:
    """Return the version."""
    return str(onnxruntime.__version__)
