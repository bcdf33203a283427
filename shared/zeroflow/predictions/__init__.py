"""What predictors tell the platform about their answers: the events, what is in them, and who may send them.

Knows no model, no HTTP server and no database; a predictor fills these in, other functions read them.
"""
