"""One file per algorithm: ``fit`` and ``loss``, readable from top to bottom."""
