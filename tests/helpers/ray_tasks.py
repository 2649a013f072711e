"""Tasks for workers of Ray that fail, each in its own way."""

import os
import time

from averse.errors import DivergenceError


def diverges(manner, board, number):
    raise DivergenceError("numbers are no longer finite")


def dies(manner, board, number):
    os._exit(1)


def breaks(manner, board, number):
    raise TypeError("a fault of the program")


def naps(manner, board, number):
    time.sleep(1)
    board.tell.remote(number, 1, [])
    return number
