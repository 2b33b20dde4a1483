"""One process or several: what they must say to one another.

Started by ``accelerate launch`` or ``torchrun``, every process trains the same networks on its own share of each batch.
The gradients are averaged before each step, so that all stay equal; nothing is wrapped, as the generators are used in
more ways than one forward pass.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import timedelta

import torch
from torch import Tensor

from restorecli.errors import BackendError
from restorecli.training.devices import choose_device


class Processes:
    """This process among those of the run; alone, every method does nothing."""

    def __init__(self, device: str = "auto") -> None:
        """Join the others when a launcher started several; :class:`BackendError` without Hugging Face accelerate."""
        self.count, self.rank = 1, 0
        self.device: torch.device | None = None
        """The device that the launcher's rules give this process; None when it is alone."""
        wanted = int(os.environ.get("WORLD_SIZE", "1"))
        if wanted < 2:
            return
        try:
            from accelerate import PartialState
        except ImportError as error:
            raise BackendError(
                'training in several processes needs accelerate: pip install "restorecli[train]"'
            ) from error
        # The first process validates while the others wait, and a large set takes it longer than the ten minutes that
        # NCCL would wait.
        state = PartialState(cpu=choose_device(device).type == "cpu", timeout=timedelta(hours=24))
        if state.num_processes != wanted:
            raise BackendError(
                f"{wanted} processes were started, but each finds {state.num_processes}: they would write over one "
                "another; give --device cpu or cuda, or start one"
            )
        self.count, self.rank, self.device = state.num_processes, state.process_index, state.device

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes and speaks."""
        return self.rank == 0

    def average(self, tensors: Iterable[Tensor]) -> None:
        """Replace each tensor by its mean over the processes, in one exchange."""
        if self.count == 1:
            return
        from accelerate.utils import reduce

        given = list(tensors)
        if not given:
            return
        joined = reduce(torch.cat([tensor.flatten().float() for tensor in given]), reduction="mean")
        for tensor, mean in zip(given, joined.split([tensor.numel() for tensor in given]), strict=True):
            tensor.copy_(mean.view_as(tensor))

    def gather(self, tensor: Tensor) -> Tensor:
        """The tensors (B, ...) of all processes behind one another, in their order."""
        if self.count == 1:
            return tensor
        from accelerate.utils import gather

        return gather(tensor.contiguous())

    def own(self, gathered: Tensor) -> Tensor:
        """This process's part of what :meth:`gather` gave."""
        return gathered.chunk(self.count)[self.rank]

    def any(self, flag: bool, device: torch.device) -> bool:
        """Whether any process says so; all get the same answer."""
        if self.count == 1:
            return flag
        return bool(self.gather(torch.tensor([float(flag)], device=device)).max() > 0)

    def differ(self, number: int, device: torch.device) -> bool:
        """Whether the processes have other numbers; waits until all are here."""
        if self.count == 1:
            return False
        numbers = self.gather(torch.tensor([number], device=device))
        return bool((numbers != numbers[0]).any())
