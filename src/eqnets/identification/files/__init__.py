"""Files of identification: the model folder (`save`, `load`) and checkpoints. The one door of safetensors."""
