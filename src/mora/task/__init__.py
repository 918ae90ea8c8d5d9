"""Tasks of ``python -m mora.prepare``: rows of files in, rows of files out, and nothing lost without a word."""
