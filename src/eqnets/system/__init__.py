"""What a model is: frozen data and pure functions; no nn.Module, no training."""
