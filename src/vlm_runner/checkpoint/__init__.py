"""Where the state of runs is kept: one JSON document a run, saved by compare-and-swap."""
