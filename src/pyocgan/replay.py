"""Iterations replayed on a GPU: recorded once as a CUDA graph, then launched as a whole.

An iteration of Algorithm 1 is more than a thousand operations, most of which a GPU finishes before
Python has asked for the next. A graph asks for all of them at once. Those of several models stand
in it side by side, each on a stream of its own, so that one fills what another leaves idle.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

import torch
from torch import Tensor

Iteration = Callable[[Tensor], dict[str, Tensor]]

# Iterations done as they are before one is recorded: libraries choose their algorithms, and
# optimisers make their moments. They count as any others.
WARM_UP = 3


class Replay:
    """Iterations of one model or several, done together: as a CUDA graph once it is recorded.

    Another thread that synchronises the GPU meanwhile may spoil a recording.

    Parameters
    ----------
    device
        The GPU.
    iterations
        Of each model: a batch → its losses. Beside them they may change only tensors, each of which
        stays where it is in memory, and the state of their generator; nothing waits for the GPU.
    generators
        Of each model, all that it draws from; on the GPU.
    """

    def __init__(
        self,
        device: torch.device,
        iterations: Sequence[Iteration],
        generators: Sequence[torch.Generator],
    ) -> None:
        self._device = device
        self._iterations, self._generators = tuple(iterations), tuple(generators)
        self._recorder, *self._streams = (_stream(device) for _ in (None, *iterations))
        self._key: Hashable = None
        self._done = 0
        self._graph: torch.cuda.CUDAGraph | None = None
        self._batches: list[Tensor] = []
        self._losses: list[dict[str, Tensor]] = []

    def __call__(self, batches: Sequence[Tensor], key: Hashable) -> list[dict[str, Tensor]]:
        """Do an iteration of each model on its batch; return their losses, valid until the next.

        `key` is all that the iterations depend on beside tensors. A graph is good for one key.
        """
        if key != self._key:
            self._key, self._done, self._graph = key, 0, None
        with torch.cuda.device(self._device):
            if self._done < WARM_UP:
                self._done += 1
                return self._side_by_side(batches)
            if self._graph is None:
                self._record(batches)
            assert self._graph is not None
            for kept, batch in zip(self._batches, batches, strict=True):
                kept.copy_(batch)
            self._graph.replay()
            return [dict(losses) for losses in self._losses]

    def _record(self, batches: Sequence[Tensor]) -> None:
        """Record what an iteration does; nothing of it is done yet."""
        self._batches = [batch.clone() for batch in batches]
        graph = torch.cuda.CUDAGraph()
        for generator in self._generators:
            graph.register_generator_state(generator)
        # Other threads, which decode images perhaps, may go on meanwhile.
        with torch.cuda.graph(graph, stream=self._recorder, capture_error_mode="thread_local"):
            self._losses = self._side_by_side(self._batches)
        # On the recorder's stream torch sets generators back; a replay sets them where they are.
        torch.cuda.current_stream().wait_stream(self._recorder)
        self._graph = graph

    def _side_by_side(self, batches: Sequence[Tensor]) -> list[dict[str, Tensor]]:
        current, losses = torch.cuda.current_stream(), []
        for stream in self._streams:
            stream.wait_stream(current)
        try:
            for stream, iteration, batch in zip(
                self._streams, self._iterations, batches, strict=True
            ):
                with torch.cuda.stream(stream):
                    losses.append(iteration(batch))
        finally:  # else a recording ends with an error of its own, in the place of what happened
            for stream in self._streams:
                current.wait_stream(stream)
        return losses


def _stream(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)
