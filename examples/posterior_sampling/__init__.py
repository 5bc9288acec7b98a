"""Posterior sampling by DDNM and ΠGDM: blurred photographs whose surroundings are unknown."""
