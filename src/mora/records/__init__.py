"""The tables of runs and comparisons as records: one dataclass per table, which mirrors its JSON."""
