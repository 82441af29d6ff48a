"""Measured data → fitted model: read, split, normalise, start from a linear model, train, score, save."""
