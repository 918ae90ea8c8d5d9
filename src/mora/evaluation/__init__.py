"""Measurements of finished runs.  What they hand on is tables; nothing here draws."""
