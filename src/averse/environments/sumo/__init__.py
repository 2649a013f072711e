"""The intersection in the Eclipse SUMO simulator, through libsumo: one simulation per worker process."""
