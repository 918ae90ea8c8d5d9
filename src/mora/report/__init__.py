"""Tables of a run become figures and one page that needs nothing else."""
