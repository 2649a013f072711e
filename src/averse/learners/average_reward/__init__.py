"""Learners of the long-run mean and variance of the reward: MV-MATRPO, MATRPO, MV-IPPO."""

__all__ = ["config", "ippo", "matrpo", "objective", "trust_region"]
