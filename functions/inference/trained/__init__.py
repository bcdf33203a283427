"""TrainedModels: the models that share the predictor of one InferenceService."""
