"""EventTransforms: events rewritten by a JSONata expression on their way. The function `transform` evaluates them."""
