"""A command from plan to last table: what must exist first, building it, executing it, measuring, concluding."""
