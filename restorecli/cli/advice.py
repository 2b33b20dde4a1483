"""What to do about what was found on a machine: from facts to sentences, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass

ONNX_RUNTIMES = ("onnxruntime-gpu", "onnxruntime")


@dataclass(frozen=True)
class Found:
    """What decides whether a graphics card is used."""

    cards: tuple[str, ...]
    """NVIDIA cards that the driver names."""
    bare_card: bool
    """Whether the system lists an NVIDIA card that no driver speaks for."""
    torch: str | None
    """Version of torch, None when it is not installed."""
    torch_problem: str | None
    """Why torch does not start."""
    torch_cuda: str | None
    """CUDA version that torch is built for, None for a build without."""
    torch_on_cuda: bool
    onnx_builds: tuple[str, ...]
    """Which of ONNX_RUNTIMES are installed."""
    onnx_problem: str | None
    onnx_on_cuda: bool
    onnx_wanted: str = ONNX_RUNTIMES[0]
    """The build for this platform."""
    torch_wanted: str = "torch"
    """What pip is to be asked for."""
    hidden: bool = False
    """Whether CUDA_VISIBLE_DEVICES hides the cards."""
    windows: bool = False


@dataclass(frozen=True)
class Advice:
    """One thing that could be better."""

    kind: str
    """A short stable word for programs."""
    problem: str
    remedy: str
    serious: bool = False
    """Whether results or errors may come from it, not just a longer wait."""


def advise(found: Found) -> list[Advice]:
    """Everything that could be better about ``found``, the serious first."""
    told = [*_packages(found), *_cards(found)]
    return sorted(told, key=lambda advice: not advice.serious)


def _packages(found: Found) -> list[Advice]:
    told = []
    if len(found.onnx_builds) > 1:
        told.append(
            Advice(
                "clash",
                "onnxruntime and onnxruntime-gpu are both installed and hide one another",
                f"pip uninstall -y {' '.join(ONNX_RUNTIMES)} && pip install {found.onnx_wanted}",
                serious=True,
            )
        )
    if not found.onnx_builds:
        told.append(Advice("no_onnxruntime", "ONNX Runtime is missing", f"pip install {found.onnx_wanted}"))
    elif found.onnx_problem is not None:
        told.append(
            Advice(
                "broken_onnxruntime",
                f"ONNX Runtime does not start ({found.onnx_problem})",
                f"pip install --force-reinstall --no-deps {found.onnx_builds[0]}",
            )
        )
    if found.torch is None:
        told.append(Advice("no_torch", "torch is missing", f'pip install "{found.torch_wanted}"'))
    elif found.torch_problem is not None:
        told.append(
            Advice(
                "broken_torch",
                f"torch does not start ({found.torch_problem})",
                f'pip install --force-reinstall "{found.torch_wanted}"',
            )
        )
    return told


def _cards(found: Found) -> list[Advice]:
    if found.bare_card and not found.cards:
        return [Advice("no_driver", "there is an NVIDIA card, but no driver for it", "install NVIDIA's driver")]
    if not found.cards:
        return []
    card = f"there is a card ({found.cards[0]})"
    if found.hidden:
        problem = f"{card}, but CUDA_VISIBLE_DEVICES hides it"
        return [Advice("hidden_card", problem, "unset CUDA_VISIBLE_DEVICES")]
    told = []
    if found.torch is not None and found.torch_problem is None and not found.torch_on_cuda:
        if found.torch_cuda is None:
            # PyPI has the build with CUDA for Linux only.
            remedy = f'pip install --force-reinstall "{found.torch_wanted}"'
            if found.windows:
                remedy = "install a build with CUDA, see https://pytorch.org/get-started"
            problem = f"{card}, but torch {found.torch} is built without CUDA"
            told.append(Advice("torch_without_cuda", problem, remedy))
        else:
            told.append(
                Advice(
                    "old_driver",
                    f"{card}, but torch {found.torch} cannot use it: it needs a driver for CUDA {found.torch_cuda}",
                    "update NVIDIA's driver, or install a torch for an older CUDA, see https://pytorch.org/get-started",
                )
            )
    if len(found.onnx_builds) == 1 and found.onnx_problem is None and not found.onnx_on_cuda:
        if found.onnx_builds[0] != ONNX_RUNTIMES[0]:
            told.append(
                Advice(
                    "onnxruntime_without_cuda",
                    f"{card}, but {found.onnx_builds[0]} is built without CUDA",
                    f"pip uninstall -y {found.onnx_builds[0]} && pip install {ONNX_RUNTIMES[0]}",
                )
            )
        else:
            told.append(
                Advice(
                    "onnxruntime_without_libraries",
                    f"{card}, but ONNX Runtime does not find the CUDA and cuDNN libraries that it is built for",
                    f'pip install "{ONNX_RUNTIMES[0]}[cuda,cudnn]"',
                )
            )
    return told
