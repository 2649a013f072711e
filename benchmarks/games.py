"""10,000 random 3x3 games in one call, against one call of Gambit's solver per game (logit QRE: tau = inf)."""

import io
import sys
import time

import numpy as np

from averse.games import NormalForm, qre, rqe, to_nfg

GAMES, SAMPLE, RESIDUAL = 10_000, 300, 1e-8


def games() -> None:
    """Prints seconds for 10,000 games and the ratio, with the largest disagreement of the probabilities.

    Gambit solves the first 300 of the same games, its time scaled up; building its games is not counted. Neither is
    our compilation, which is printed apart. The two alternate in three rounds.
    """
    try:
        import pygambit
    except ImportError:
        sys.exit("the benchmark `games` needs pygambit: pip install 'pygambit>=17.0.0b1'")
    batch = NormalForm.random(0, (3, 3), GAMES)
    theirs = [pygambit.read_nfg(io.BytesIO(to_nfg(batch[k]).encode())) for k in range(SAMPLE)]
    print(f"{GAMES:,} random 3x3 games (payoffs in [0, 1)), residual {RESIDUAL:g}; Gambit {pygambit.__version__}")
    for epsilon in (0.5, 0.1, 0.02):
        began = time.perf_counter()
        solved = qre(batch, epsilon, tolerance=RESIDUAL)
        compiled = time.perf_counter() - began
        assert solved.converged.all()
        ratios, ours, gambit = [], [], []
        for _ in range(3):
            began = time.perf_counter()
            solved = qre(batch, epsilon, tolerance=RESIDUAL)
            ours.append(time.perf_counter() - began)
            began = time.perf_counter()
            answers = [pygambit.qre.logit_solve_lambda(game, [1 / epsilon])[0].profile for game in theirs]
            gambit.append((time.perf_counter() - began) * GAMES / SAMPLE)
            ratios.append(gambit[-1] / ours[-1])
        apart = max(
            np.abs(x[k] - [float(probability) for _, probability in mixture]).max()
            for k, profile in enumerate(answers)
            for x, mixture in zip(solved.strategies, profile)
        )
        print(
            f"  epsilon {epsilon:4}: averse {np.median(ours):.3f} s (first call {compiled:.1f} s), Gambit "
            f"{np.median(gambit):.2f} s: {np.median(ratios):.0f} times ({min(ratios):.0f}-{max(ratios):.0f}); "
            f"largest difference {apart:.0e}"
        )
    for tau in (1.0, 0.1):
        rqe(batch, tau, 0.1, tolerance=RESIDUAL)
        began = time.perf_counter()
        solved = rqe(batch, tau, 0.1, tolerance=RESIDUAL)
        seconds, share = time.perf_counter() - began, solved.converged.mean()
        print(f"  RQE, KL with log barrier, tau {tau}, epsilon 0.1: {seconds:.2f} s, {share:.2%} converged")


if __name__ == "__main__":
    games()
