"""MAPPO and its presets: PPO, reward shaping, mean-variance, CVaR, the entropic measure."""

__all__ = ["advantages", "config", "mappo"]
