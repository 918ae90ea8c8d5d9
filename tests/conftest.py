"""Shapes and types in the signatures of ``mora.functional`` are checked at run time in every test."""

from __future__ import annotations

from jaxtyping import install_import_hook

install_import_hook("mora.functional", "beartype.beartype")
