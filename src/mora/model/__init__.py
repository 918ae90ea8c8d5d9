"""Language models: loading, adapters, heads, log-probabilities, generation, export."""
