"""Whole studies: the demo, and (later) comparisons, trade-off sweeps and ablations."""
