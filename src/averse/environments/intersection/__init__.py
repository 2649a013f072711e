"""The task of crossing an unsignalised intersection, stated once for every simulator that plays it.

`task` holds its constants, `geometry` the road, `starts` the random beginnings, `observations` what agents and critics
see, `rewards` what they are paid and measured by. All functions take the array namespace `xp` (numpy or jax.numpy) and
any leading batch axes.
"""
