"""Steps of decoding as CUDA graphs.

A step of decoding is some twenty small operations in each layer, and a fast GPU is done with each before the host has
asked for the next. CUDA can capture a step's operations once, with their shapes and their places in memory, and replay
all of them at one call (https://docs.nvidia.com/cuda/cuda-c-programming-guide/#cuda-graphs).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Step = Callable[[Tensor, Tensor], Tensor]
"""Reads tokens, ids and positions each (tokens,) int64, and returns the logits after each, (tokens, vocabulary)."""

Capture = Callable[[Step, Tensor, Tensor], Step]
"""Makes of a step, with ids and positions to try it with, one that is replayed."""

_TRIALS = 2  # before capturing: libraries choose their kernels and take their memory then, which cannot be captured


def capture_cuda_graph(step: Step, ids: Tensor, positions: Tensor) -> Step:
    """Capture a step as a CUDA graph.

    Args:
        step: Of fixed shapes, asking the host for nothing. What it reads and writes must stay where it is.
        ids: To try it with.
        positions: To try it with. What it writes there is written over by the first replay.

    Returns:
        The step. Its logits are overwritten by the next call.

    Raises:
        RuntimeError: Something in it cannot be captured, or memory ran out.
    """
    return _CudaGraph(step, ids, positions)


class _CudaGraph:
    def __init__(self, step: Step, ids: Tensor, positions: Tensor) -> None:
        self._step = step  # whose memory the graph reads, and does not own
        self._ids, self._positions = ids.clone(), positions.clone()
        current, aside = torch.cuda.current_stream(ids.device), torch.cuda.Stream(ids.device)  # type: ignore[no-untyped-call]
        aside.wait_stream(current)
        with torch.cuda.stream(aside):
            for _ in range(_TRIALS):
                step(self._ids, self._positions)
        current.wait_stream(aside)
        self._graph = torch.cuda.CUDAGraph()
        # Of this thread alone: a model may be loaded in the background meanwhile.
        with torch.cuda.graph(self._graph, capture_error_mode="thread_local"):
            self._logits = step(self._ids, self._positions)

    def __call__(self, ids: Tensor, positions: Tensor) -> Tensor:
        self._ids.copy_(ids)
        self._positions.copy_(positions)
        self._graph.replay()
        return self._logits
