"""Learners of the long-run mean and variance of the reward: MV-MATRPO, MV-IPPO."""
