"""Weights of the Hugging Face Hub: ``hf://OWNER/REPO[@REV][/FILE]``."""

from __future__ import annotations

from pathlib import Path

from restorecli.errors import WeightsError
from restorecli.weights.files import PICKLES, short

HF_DEFAULT_FILE = "generator.safetensors"
"""What ``hf://OWNER/REPO`` means when it names no file: what a training run writes."""


def download(which: str) -> Path:
    """The local copy of ``hf://OWNER/REPO[@REV][/FILE]``."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import (
        EntryNotFoundError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    owner, _, rest = which.removeprefix("hf://").partition("/")
    repo, _, file = rest.partition("/")
    repo, _, revision = repo.partition("@")
    if not owner or not repo:
        raise WeightsError(f"{which} is not of the form hf://OWNER/REPO[@REV][/FILE]", kind="missing")
    file = file or HF_DEFAULT_FILE
    if Path(file).suffix.lower() in PICKLES:
        raise WeightsError(f"{which} is a pickle and is refused: choose a .safetensors or .onnx file", kind="refused")
    try:
        return Path(hf_hub_download(f"{owner}/{repo}", file, revision=revision or None))
    except LocalEntryNotFoundError as error:
        raise WeightsError(
            f"{which} is not on this machine and the network is not to be had: connect, or give --weights FILE",
            kind="offline",
        ) from error
    except (RepositoryNotFoundError, RevisionNotFoundError, EntryNotFoundError, HFValidationError) as error:
        raise WeightsError(f"{which} is not there ({short(error)})", kind="missing") from error
    except (HfHubHTTPError, OSError) as error:
        raise WeightsError(f"{which} cannot be downloaded now ({short(error)})", kind="offline") from error
