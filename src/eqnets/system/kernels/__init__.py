"""The same rollout, fast; every kernel must equal the reference."""
