"""Run folders, processes, the optimizer step, exact resume, and trackers."""
