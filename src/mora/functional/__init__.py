"""Pure mathematics: tensors in, tensors out.  No module, no configuration, no I/O, no hidden randomness."""
