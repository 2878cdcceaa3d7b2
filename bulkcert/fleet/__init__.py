"""Lanes on other machines: their calls, their share of the limits, and what coordinator and lanes say to each other."""
