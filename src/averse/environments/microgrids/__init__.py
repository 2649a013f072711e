"""Microgrids that sell and buy power at one main grid, as one team (after Hu, Xia, arXiv 2511.20977).

`tables` holds each microgrid's exact local model, `environment` the compiled world, `model` the exact team game.
"""
