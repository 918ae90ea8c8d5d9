"""What a pickled state would run when it is loaded, found without loading it."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path

from torch.serialization import get_unsafe_globals_in_checkpoint

from mora.errors import InputError

# What DeepSpeed's own states hold beside tensors and plain values.
ALLOWED = frozenset(
    {
        "deepspeed.runtime.fp16.loss_scaler.LossScaler",
        "deepspeed.runtime.zero.config.ZeroStageEnum",
        "deepspeed.utils.tensor_fragment.fragment_address",
    }
)


def check_pickles(folder: Path) -> None:
    """Raises InputError for a file below ``folder`` that names other code than DeepSpeed's own data classes."""
    for path in sorted(folder.rglob("*.pt")):
        try:
            named = set(get_unsafe_globals_in_checkpoint(str(path))) - ALLOWED
        except (RuntimeError, ValueError, OSError, pickle.UnpicklingError, zipfile.BadZipFile) as error:
            raise InputError(f"{path} is no state of an optimizer that can be read ({error}); {_REMEDY}") from None
        if named:
            raise InputError(f"{path} would run {sorted(named)[0]} when it is loaded, and was not; {_REMEDY}")


_REMEDY = "delete this checkpoint, or begin anew with runtime.fresh=true"
