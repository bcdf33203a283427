"""The event that a predictor has refused a model for safety; its data name the InferenceService, model and reason."""

REFUSED = "dev.zeroflow.model.refused"
REASONS = frozenset({"PickleNotVouched", "ModelNotApproved", "UntrustedTypes"})
"""Nobody vouches for it; its bytes are not those that were approved; it holds types that are not trusted."""
