"""mora: multi-objective reward alignment.

Importing this package is light: no torch, no transformers.  ``mora.compose`` builds a configuration.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from omegaconf import DictConfig

__version__ = "0.1.0"


def compose(*overrides: str, command: str = "train") -> DictConfig:
    """Compose and check the configuration of one command, as the command line would.

    ``mora.compose("algo=panacea", "seed=3")`` is what ``python -m mora.train algo=panacea seed=3`` runs with.  Packages
    under ``plugins`` may be used from then on, as if the command line had named them.
    Raises :class:`mora.errors.InputError` that names every unknown key.
    """
    from mora.settings.compose import compose as build
    from mora.settings.overrides import named_on
    from mora.settings.permitted import grant

    grant(named_on(overrides))
    return build(command, list(overrides))
