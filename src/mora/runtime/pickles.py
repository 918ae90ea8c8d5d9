"""What a pickled state would run when it is loaded, found without loading it."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path

from torch.serialization import get_unsafe_globals_in_checkpoint

from mora.errors import InputError
from mora.manifest import files_below
from mora.model.place import PICKLED

# What DeepSpeed's own states hold beside tensors and plain values.
ALLOWED = frozenset(
    {
        "deepspeed.runtime.fp16.loss_scaler.LossScaler",
        "deepspeed.runtime.zero.config.ZeroStageEnum",
        "deepspeed.utils.tensor_fragment.fragment_address",
    }
)
SIGNS = (b"PK\x03\x04", b"\x80")  # what archives of torch.save and pickles of protocol 2 and later begin with


def check_pickles(folder: Path) -> None:
    """Raises InputError for a file below ``folder`` that names other code than DeepSpeed's own data classes.

    Links are refused.  A file is looked through if its name or its first bytes are those of a pickle.
    """
    for path in filter(_may_be_pickled, files_below(folder, _REMEDY)):
        try:
            named = set(get_unsafe_globals_in_checkpoint(str(path))) - ALLOWED
        except (RuntimeError, ValueError, OSError, pickle.UnpicklingError, zipfile.BadZipFile) as error:
            raise InputError(f"{path} is no state of an optimizer that can be read ({error}); {_REMEDY}") from None
        if named:
            raise InputError(f"{path} would run {sorted(named)[0]} when it is loaded, and was not; {_REMEDY}")


def _may_be_pickled(path: Path) -> bool:
    if path.suffix == ".safetensors":  # begins with its length, which may look like a sign
        return False
    with path.open("rb") as stream:
        return path.suffix.lower() in PICKLED or stream.read(4).startswith(SIGNS)


_REMEDY = "delete this checkpoint, or begin anew with runtime.fresh=true"
