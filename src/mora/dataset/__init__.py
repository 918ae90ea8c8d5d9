"""Rows of many sources in one canonical form, and the batches made of them."""
