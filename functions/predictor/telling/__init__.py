"""What a predictor tells others: counts, payloads, predictions, copies, spans, refusals."""
